//! A mount: from a source and a target to a file system that is served.

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::options::Options;
use crate::stats::Stats;

/// A tree that is mounted. It must be [served](Mount::serve): until then whoever touches it waits,
/// and when this value is dropped it is gone (ENOTCONN).
#[derive(Debug)]
pub struct Mount {
    stats: Arc<Stats>,
}

impl Mount {
    /// Mounts `source` on `target`, without `nosuid`; when this returns the mount is in place.
    ///
    /// # Errors
    /// [`Error::NoFuse`] without /dev/fuse; [`Error::Reachable`] where others than root can reach
    /// the source and the options do not allow that; [`Error::Place`] where source or target is
    /// not a directory, or one lies in the other; [`Error::Call`] for what the kernel refuses.
    pub fn new(source: &Path, target: &Path, options: &Options) -> Result<Mount, Error> {
        let _ = (target, options);
        Err(Error::call(source, "mount", rustix::io::Errno::NOSYS))
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Serves until it is unmounted.
    ///
    /// # Errors
    /// [`Error::Call`] where worker threads cannot be made or set up, or /dev/fuse fails.
    pub fn serve(self) -> Result<(), Error> {
        Ok(())
    }
}
