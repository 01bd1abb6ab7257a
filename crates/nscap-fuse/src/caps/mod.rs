//! The two attributes on a file of the tree: who asks, what is stored, what `nscap_core` decides.
