//! The simulated world on madsim: network, disk, clock, processes, digest.
