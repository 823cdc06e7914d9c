//! Names stay with the pods that they stand for.
