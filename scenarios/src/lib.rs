//! Workloads, fault plans and campaigns; the binary veridical-sim.
