//! A pipelined client with safe retries that can record its history.
