//! Groups applications by SLO and rate and gives every group its cheapest function.
