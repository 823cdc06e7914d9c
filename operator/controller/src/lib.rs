//! The reconcilers of HarmonyBatch.
