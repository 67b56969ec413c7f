//! The embedded Kodo service over real HTTP, seen by a client that knows nothing of it: plain TCP.

#[cfg(test)]
mod downloads;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod uploads;
