//! InferenceGroups and EndpointSlices, read into plain values. What cannot be read is an error with the field's name.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use harmonybatch_api::{
    Dispatch, InferenceGroup,
    inference_app::Overflow,
    inference_group::{Active, Admission, Member},
    inference_model::Protocol,
    quantity,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt as _;

use super::{Contract, GroupConfig, Key, MemberConfig, Snapshot, Wake};
use crate::protocol::Wire;

/// Label by which an EndpointSlice names its Service.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Why a group is not routed to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A value does not parse.
    #[error("status.active.{field}: {message}")]
    InvalidField { field: String, message: String },
}

fn invalid(field: impl Into<String>, message: &impl ToString) -> ReadError {
    ReadError::InvalidField {
        field: field.into(),
        message: message.to_string(),
    }
}

/// One group as it was read: its routes, without the addresses of its replicas.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    key: Key,
    planned: Vec<(Arc<str>, Arc<str>)>,
    active: Option<(GroupConfig, Source)>,
}

/// Where a group's replicas are listed.
#[derive(Clone, Debug)]
struct Source {
    service: String,
    port: String,
}

/// Reads a group.
///
/// # Errors
/// Where a field of `status.active` has no meaning; the schema refuses most of that.
pub(crate) fn group(object: &InferenceGroup) -> Result<Group, ReadError> {
    let key = Key::new(&object.namespace().unwrap_or_default(), &object.name_any());
    let planned = object.spec.members.iter();
    let planned = planned
        .map(|member| (member.app.as_str().into(), member.service_name.as_str().into()))
        .collect();
    let active = object.status.as_ref().and_then(|status| status.active.as_ref());
    // A group without members serves nobody: it is on its way out.
    let active = active.filter(|active| !active.members.is_empty());
    let active = active
        .map(|active| self::active(&key, object, active))
        .transpose()?;
    Ok(Group { key, planned, active })
}

fn active(key: &Key, object: &InferenceGroup, active: &Active) -> Result<(GroupConfig, Source), ReadError> {
    let batch_size = u32::try_from(active.batch_size).ok().filter(|size| *size > 0);
    let batch_size = batch_size.ok_or_else(|| invalid("batchSize", &"must be at least 1"))?;
    let eager = matches!(active.dispatch, Dispatch::Eager);
    let members = active.members.iter().enumerate().map(|(index, member)| {
        let departing = !object
            .spec
            .members
            .iter()
            .any(|planned| planned.app == member.app);
        self::member(index, member, eager, departing).map(Arc::new)
    });
    let wake = active
        .wake_url
        .as_ref()
        .map(|url| Wake::from_url(url).ok_or_else(|| invalid("wakeUrl", &"not an http URL")));
    let config = GroupConfig {
        key: key.clone(),
        plan_generation: active.plan_generation,
        batch_size,
        members: members.collect::<Result<_, _>>()?,
        model: object.spec.model_ref.name.as_str().into(),
        runtime_model: active.model_name.as_str().into(),
        idempotent: active.idempotent,
        wire: wire(active.protocol),
        endpoints: Vec::new(),
        wake: wake.transpose()?,
    };
    Ok((
        config,
        Source {
            service: active.endpoints.service.clone(),
            port: active.endpoints.port.clone(),
        },
    ))
}

fn wire(protocol: Protocol) -> Wire {
    match protocol {
        Protocol::OipV2Json => Wire::Json,
        Protocol::OipV2Binary => Wire::Binary,
        Protocol::OipV2Grpc => Wire::Grpc,
    }
}

fn member(index: usize, member: &Member, eager: bool, departing: bool) -> Result<MemberConfig, ReadError> {
    let duration = |field: &str, text: &str| {
        let parsed = quantity::Duration::from_str(text);
        parsed
            .map(std::time::Duration::from)
            .map_err(|error| invalid(format!("members[{index}].{field}"), &error))
    };
    let max_wait = duration("maxWait", &member.max_wait)?;
    Ok(MemberConfig {
        app: member.app.as_str().into(),
        service_name: member.service_name.as_str().into(),
        slo: duration("slo", &member.slo)?,
        timeout: duration("timeout", &member.timeout)?,
        max_wait: if eager {
            std::time::Duration::ZERO
        } else {
            max_wait
        },
        contract: member
            .admission
            .as_ref()
            .map(|admission| contract(index, admission))
            .transpose()?,
        departing,
    })
}

fn contract(index: usize, admission: &Admission) -> Result<Contract, ReadError> {
    let field = |name: &str| format!("members[{index}].admission.{name}");
    let rate = quantity::Rate::from_str(&admission.rate).map_err(|error| invalid(field("rate"), &error))?;
    if rate.per_second() <= 0.0 {
        return Err(invalid(field("rate"), &"must be above 0"));
    }
    let rows = |name: &str, rows: i64| {
        let rows = u32::try_from(rows).ok().filter(|rows| *rows > 0);
        rows.map(f64::from)
            .ok_or_else(|| invalid(field(name), &"must be at least 1"))
    };
    let burst = rows("burst", admission.burst)?;
    Ok(Contract {
        rate: rate.per_second(),
        burst,
        most: rows("most", admission.most)?.max(burst),
        best_effort: admission.overflow == Overflow::BestEffort,
    })
}

/// Addresses of one EndpointSlice that take requests.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    namespace: String,
    service: String,
    ports: Vec<(String, u16)>,
    addresses: Vec<IpAddr>,
    /// Of others, which come or go.
    unready: Vec<IpAddr>,
}

impl Slice {
    /// All addresses, ready or not.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().chain(&self.unready).copied()
    }

    /// The addresses with the port of this name.
    pub(super) fn addresses<'a>(&'a self, port: &'a str) -> impl Iterator<Item = SocketAddr> + 'a {
        let ports = self.ports.iter().filter(move |(name, _)| name == port);
        ports.flat_map(|(_, port)| {
            let addresses = self.addresses.iter();
            addresses.map(|address| SocketAddr::new(*address, *port))
        })
    }
}

/// Reads an EndpointSlice. An endpoint that does not say whether it is ready is, as its API has it.
pub(crate) fn slice(object: &EndpointSlice) -> Slice {
    let is_ready = |endpoint: &&Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let (ready, unready): (Vec<_>, Vec<_>) = object.endpoints.iter().partition(is_ready);
    let addresses = |endpoints: Vec<&Endpoint>| {
        let addresses = endpoints.into_iter().flat_map(|endpoint| &endpoint.addresses);
        addresses.filter_map(|address| address.parse().ok()).collect()
    };
    let ports = object.ports.iter().flatten().filter_map(|port| {
        Some((
            port.name.clone().unwrap_or_default(),
            u16::try_from(port.port?).ok()?,
        ))
    });
    Slice {
        namespace: object.namespace().unwrap_or_default(),
        service: object.labels().get(SERVICE_LABEL).cloned().unwrap_or_default(),
        ports: ports.collect(),
        addresses: addresses(ready),
        unready: addresses(unready),
    }
}

/// What groups and slices give together.
pub(crate) fn snapshot<'a>(
    groups: impl Iterator<Item = &'a Group>,
    slices: impl Iterator<Item = &'a Slice>,
) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut by_service: HashMap<(&str, &str), Vec<&Slice>> = HashMap::new();
    for slice in slices {
        let service = (slice.namespace.as_str(), slice.service.as_str());
        by_service.entry(service).or_default().push(slice);
    }
    for group in groups {
        for (app, service_name) in &group.planned {
            let key = Key {
                namespace: group.key.namespace.clone(),
                name: app.clone(),
            };
            snapshot.planned.insert((key, service_name.clone()));
        }
        let Some((config, source)) = &group.active else {
            continue;
        };
        let of_group = by_service.get(&(&*group.key.namespace, source.service.as_str()));
        let addresses = of_group
            .into_iter()
            .flatten()
            .flat_map(|slice| slice.addresses(&source.port));
        let mut endpoints: Vec<SocketAddr> = addresses.collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        snapshot.groups.insert(
            group.key.clone(),
            Arc::new(GroupConfig {
                endpoints,
                ..config.clone()
            }),
        );
    }
    snapshot
}

#[cfg(test)]
mod tests;
