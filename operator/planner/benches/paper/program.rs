//! What the authors' own program makes of the same applications, to be priced by the same evaluator.

use harmonybatch_planner::App;
use harmonybatch_planner::Device;
use harmonybatch_planner::units::{GpuUnits, Vcpu};

use super::columns::Served;
use super::settings;
use crate::fixture::{Coefficients, MODELS, app};

const PLANS: &str = include_str!("program.txt");

/// A plan of the authors' program.
#[derive(Debug)]
pub(crate) struct ProgramPlan {
    pub(crate) setting: Setting,
    pub(crate) model: &'static Coefficients,
    pub(crate) algorithm: &'static str,
    /// None where only the cost is recorded.
    pub(crate) groups: Vec<Served>,
    /// Mean price of a request as the program states it: CNY, memory and a CPU beside every GPU included, GPU time in whole seconds.
    pub(crate) stated: f64,
}

/// Which applications a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    TableI,
    Eight,
}

impl Setting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TableI => "table-i",
            Self::Eight => "eight",
        }
    }
}

/// All plans that are recorded.
pub(crate) fn plans() -> Vec<ProgramPlan> {
    PLANS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(parse)
        .collect()
}

fn parse(line: &'static str) -> ProgramPlan {
    let fields: Vec<&str> = line.split("; ").collect();
    let model = MODELS.iter().find(|model| model.name == fields[1]).unwrap();
    let (setting, apps) = match fields[0] {
        "table-i" => (Setting::TableI, settings::table_i()),
        "eight" => (Setting::Eight, settings::eight(model, 1.0)),
        other => panic!("unknown setting {other}"),
    };
    ProgramPlan {
        setting,
        model,
        algorithm: fields[2],
        stated: fields[3].parse().unwrap(),
        groups: fields[4]
            .split(' ')
            .filter(|group| *group != "-")
            .map(|group| served(group, &apps))
            .collect(),
    }
}

/// `index:rate+index:rate,cpu|gpu,size,batch`; MBS+ may cut an application in two.
fn served(text: &str, apps: &[App]) -> Served {
    let fields: Vec<&str> = text.split(',').collect();
    let members = fields[0].split('+').map(|member| {
        let (index, rate) = member.split_once(':').unwrap();
        let whole = &apps[index.parse::<usize>().unwrap()];
        app(&whole.name, whole.slo.get(), rate.parse().unwrap())
    });
    let device = if fields[1] == "gpu" {
        Device::Gpu {
            pool: "a10".to_owned(),
            units: GpuUnits::new(fields[2].parse().unwrap()).unwrap(),
        }
    } else {
        Device::Cpu {
            vcpu: Vcpu::from_millis(fields[2].parse().unwrap()).unwrap(),
        }
    };
    Served {
        members: members.collect(),
        device,
        batch: fields[3].parse().unwrap(),
        replicas: 1,
    }
}
