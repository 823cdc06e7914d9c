//! The reconcilers of HarmonyBatch.

pub mod plan;
