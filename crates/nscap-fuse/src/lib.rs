//! One directory tree shown to many user namespaces, each with its own capabilities: a passthrough
//! file system over FUSE on which R1-R8, D, K, L, M and A hold for every task of the machine.
//!
//! Nothing here decides: what a caller may do and see is asked of `nscap_core`, for the calling
//! thread's own credentials.

mod caps;
