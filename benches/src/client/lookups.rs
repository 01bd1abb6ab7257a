// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cost of a lookup beside other load. The names do not exist, so that each lookup reaches the
//! file system. The lookups come at intervals, so that they meet times under load in proportion to
//! their length.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const COUNT: usize = 400;
const INTERVAL: Duration = Duration::from_millis(5);

/// The median in microseconds.
pub(crate) fn median(dir: &Path, prefix: &str) -> io::Result<f64> {
    let mut times = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        std::thread::sleep(INTERVAL);
        let path = dir.join(format!("{prefix}-{number}"));
        let before = Instant::now();
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) => return Err(io::Error::other("a name that is not to be there")),
            Err(error) => return Err(error),
        }
        times.push(before.elapsed());
    }
    times.sort_unstable();
    let median = times.get(COUNT / 2).ok_or_else(|| io::Error::other("nothing was measured"))?;
    Ok(median.as_secs_f64() * 1e6)
}
