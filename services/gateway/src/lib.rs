//! # Where the world comes in: the tracking API, survey forms, provider events, gRPC-Web
