//! What holds of everything that the gateway reads of foreign bytes, whatever they are. The fuzz targets look for bytes
//! of which it does not hold; the tests try it with every file of the corpus.

pub(crate) mod answer;
pub(crate) mod client_address;
pub(crate) mod forms;
pub(crate) mod http1_heads;
pub(crate) mod http2_frames;
pub(crate) mod origin;
pub(crate) mod path;
pub(crate) mod proxy_protocol;
pub(crate) mod websocket_frames;
