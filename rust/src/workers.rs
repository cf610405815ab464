//! The threads that help a query with many series, on every core at once.
//!
//! They run at a lower priority than all else: a question that reads a few series runs on the
//! thread it came on, and so do writes and the event loop; whoever asks for much takes what these
//! leave of the processor, not half of what they need. Reached only where a query has rows enough
//! for several threads.

use crate::error::{CoreError, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::process::{getpriority_process, setpriority_process};
use std::sync::OnceLock;

/// Linux weighs a thread ten steps down a tenth of one at zero where both want the same core.
const NICENESS: i32 = 10;

static POOL: OnceLock<ThreadPool> = OnceLock::new();

/// How many threads one query may use.
pub fn thread_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Started when it is first needed; one for the process.
pub fn pool() -> Result<&'static ThreadPool> {
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let built = ThreadPoolBuilder::new()
        .num_threads(thread_count())
        .thread_name(|number| format!("query-core-{number}"))
        .start_handler(|_| step_back())
        .build()
        .map_err(|error| {
            CoreError::Unavailable(format!("cannot start threads for queries: {error}"))
        })?;
    // Where another thread was faster, its pool serves and this one ends.
    Ok(POOL.get_or_init(|| built))
}

/// Lowers this thread's priority; without a process id Linux acts on the calling thread alone.
fn step_back() {
    // A platform that refuses runs it as an equal: slower company, the same answers.
    let _ = getpriority_process(None)
        .and_then(|niceness| setpriority_process(None, niceness + NICENESS));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pool_steps_back() {
        let pool = pool().unwrap();
        assert_eq!(pool.current_num_threads(), thread_count());
        let niceness = || getpriority_process(None).unwrap();
        let own = niceness();
        assert_eq!(pool.install(niceness), (own + NICENESS).min(19));
        assert_eq!(niceness(), own);
    }
}
