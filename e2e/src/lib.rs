//! The local cluster of HarmonyBatch and the tests that need it.
