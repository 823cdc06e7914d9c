//! The encodings of the protocol.

use std::fmt;

use super::{grpc::SERVICE, tensor::Form};

/// What a runtime speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wire {
    /// REST with JSON tensors.
    #[default]
    Json,
    /// REST with the binary tensor extension.
    Binary,
    /// gRPC with raw contents.
    Grpc,
}

impl Wire {
    /// The path of an infer request.
    pub fn infer_path(self, model: &str, version: Option<&str>) -> String {
        if self == Self::Grpc {
            return format!("{SERVICE}ModelInfer");
        }
        let version = version.map_or_else(String::new, |version| format!("/versions/{version}"));
        format!("/v2/models/{model}{version}/infer")
    }

    /// How it has the data of tensors.
    pub(super) fn form(self) -> Form {
        match self {
            Self::Json => Form::Text,
            Self::Binary | Self::Grpc => Form::Raw,
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Json => "JSON tensors",
            Self::Binary => "binary tensors",
            Self::Grpc => "gRPC",
        })
    }
}
