//! How the process has its memory from the system.

use rustix::thread::disable_transparent_huge_pages;

/// Has the process do without transparent huge pages, which the allocator asks for. Each is two megabytes that the system
/// clears when the first byte of it is used, for milliseconds, in which a worker serves nobody: whenever connections came
/// and went, every two hundredth request waited for one. Without them a gateway takes a fifth less memory, and as much CPU
/// time a request.
pub(super) fn without_huge_pages() {
    // A system that does not know of this has none, or has its own rules.
    let _ = disable_transparent_huge_pages(true);
}
