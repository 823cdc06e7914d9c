//! The batching rule of HarmonyBatch as a pure state machine.
