//! Floor 3: where sessions are kept. Every store keeps the contract of [`crate::session::store`].

#[cfg(test)]
mod contract;
pub mod disk;
#[cfg(test)]
mod kv_contract;
pub mod memory;
pub mod memory_kv;
