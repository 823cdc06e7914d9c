//! Open-loop load generator: Poisson arrivals per application, a verdict on every SLO.
