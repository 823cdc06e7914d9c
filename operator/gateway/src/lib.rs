//! The gateway of HarmonyBatch: one queue a group, a deadline for every application.
