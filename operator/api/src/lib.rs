//! The Kubernetes API of HarmonyBatch: kinds, conditions and names.
