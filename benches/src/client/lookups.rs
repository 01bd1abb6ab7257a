// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a lookup costs beside whatever else goes on: of names that are not there, so that each is asked
//! of the file system, at intervals, so that times in which something lasts are met as often as they
//! are long.

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
