//! The four models of the HarmonyBatch paper and the platform that it was measured on.
//!
//! Coefficients: `conf/model.json` of the authors' repository HarmonyBatch/HarmonyBatch (MIT licence), fitted on
//! Alibaba Cloud Function Compute; prices, grid and A10 pool: section V of the paper (arXiv 2405.05633).

use harmonybatch_planner::units::{BatchSize, Bytes, GpuUnits, Percentile, Price, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    App, ArrivalModel, ArrivalProcess, Billing, CpuCurve, CpuGrid, CpuLatency, Exponential, GpuLatency,
    GpuPool, Memory, ModelProfile, ModelSet, Plan, PlanRequest, Platform, PlatformPlan, Prices, Sharing,
    audit, plan_platform,
};

/// Coefficients of a model as published: (alpha, beta, gamma) per CPU batch size, xi1 and xi2 of the A10.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coefficients {
    pub(crate) name: &'static str,
    pub(crate) cpu_mean: [[f64; 3]; 4],
    pub(crate) cpu_max: [[f64; 3]; 4],
    pub(crate) per_row: f64,
    pub(crate) fixed: f64,
}

pub(crate) const VGG19: Coefficients = Coefficients {
    name: "vgg19",
    cpu_mean: [
        [
            1.826_069_557_867_621_4,
            0.528_372_642_002_254_5,
            0.180_154_271_685_474_02,
        ],
        [
            4.849_070_286_817_897,
            0.432_250_591_452_146_6,
            0.364_475_070_498_593_1,
        ],
        [
            6.525_043_654_279_533,
            0.459_233_926_454_066_74,
            0.533_468_087_304_086,
        ],
        [
            8.922_555_068_657_605,
            0.448_473_312_991_124_8,
            0.756_989_395_407_237_4,
        ],
    ],
    cpu_max: [
        [
            2.804_682_148_791_762_6,
            0.486_196_685_423_509_6,
            0.248_601_525_414_942_1,
        ],
        [
            4.921_904_346_804_347_5,
            0.489_093_371_706_374_46,
            0.393_280_343_157_185_9,
        ],
        [
            6.943_900_030_184_952_5,
            0.505_163_266_297_825_5,
            0.569_538_875_401_602_9,
        ],
        [
            9.651_597_017_513_72,
            0.465_925_854_830_723_24,
            0.828_771_374_826_258_4,
        ],
    ],
    per_row: 0.001_679_844_365_532_822,
    fixed: 0.002_113_091_944_793_135,
};

pub(crate) const BERT: Coefficients = Coefficients {
    name: "bert",
    cpu_mean: [
        [
            1.986_905_134_515_757_6,
            0.298_263_337_020_734_9,
            0.123_642_470_104_501_66,
        ],
        [
            3.009_837_015_087_181,
            0.356_765_906_381_479_8,
            0.192_034_414_573_290_43,
        ],
        [
            3.670_840_974_884_798_3,
            0.395_720_411_598_875_55,
            0.257_587_130_590_022_75,
        ],
        [
            4.558_623_197_329_59,
            0.408_975_278_718_035_7,
            0.321_898_825_822_898_97,
        ],
    ],
    cpu_max: [
        [
            1.802_730_730_530_476,
            0.442_076_067_715_091_6,
            0.169_411_149_589_651_06,
        ],
        [
            2.863_927_741_370_684_7,
            0.461_025_096_845_569_47,
            0.260_423_813_664_326_43,
        ],
        [
            3.639_179_212_582_481_3,
            0.488_973_531_282_630_27,
            0.338_584_578_003_512_7,
        ],
        [
            5.094_011_254_145_101,
            0.447_957_116_011_128_14,
            0.422_202_138_745_991_4,
        ],
    ],
    per_row: 0.001_029_270_527_260_006_2,
    fixed: 0.001_576_411_303_794_539_9,
};

pub(crate) const GPT2: Coefficients = Coefficients {
    name: "gpt-2",
    cpu_mean: [
        [
            14.863_729_378_660_587,
            0.385_179_870_448_403_8,
            0.708_232_251_864_323_9,
        ],
        [
            36.368_920_060_561_8,
            0.330_047_623_894_686_4,
            1.218_137_040_341_871_4,
        ],
        [
            33.182_636_255_738_146,
            0.360_602_724_081_425_1,
            1.235_938_218_131_413_4,
        ],
        [
            35.073_526_469_556_136,
            0.363_350_050_137_528,
            1.492_282_002_005_577_6,
        ],
    ],
    cpu_max: [
        [
            18.063_650_815_710_595,
            0.376_590_531_291_978_84,
            0.868_923_829_546_451_9,
        ],
        [
            55.040_051_467_601_664,
            0.295_547_918_622_623,
            1.565_311_267_918_560_8,
        ],
        [
            46.902_824_455_778_63,
            0.328_031_021_481_573_54,
            1.570_204_990_928_599_8,
        ],
        [
            48.328_580_564_156_276,
            0.333_150_358_189_046_76,
            1.805_921_169_070_774_4,
        ],
    ],
    per_row: 0.001_021_43,
    fixed: 0.200_695_24,
};

pub(crate) const VIDEO_MAE: Coefficients = Coefficients {
    name: "videomae",
    cpu_mean: [
        [
            4.710_653_956_393_892,
            2.433_531_193_728_820_4,
            0.812_328_593_519_766_3,
        ],
        [7.999_598_444_120_621, 2.616_895_329_684_82, 1.592_392_690_556_512],
        [
            10.205_520_303_734_046,
            2.991_180_331_064_209_3,
            2.073_114_072_198_299,
        ],
        [
            14.698_783_006_708_515,
            2.931_843_773_141_652_7,
            2.606_373_896_331_993_6,
        ],
    ],
    cpu_max: [
        [
            5.677_672_101_837_821,
            2.113_375_994_350_193,
            1.097_752_257_409_510_9,
        ],
        [
            5.849_101_720_887_206,
            3.326_627_063_843_683_5,
            2.013_759_795_624_739,
        ],
        [
            8.149_015_985_138_195,
            3.634_371_409_966_379_8,
            2.576_157_284_101_622,
        ],
        [
            21.007_904_512_627_69,
            2.176_214_703_219_329_7,
            3.593_299_992_075_037_7,
        ],
    ],
    per_row: 0.032_633_82,
    fixed: -0.000_45,
};

pub(crate) const MODELS: [Coefficients; 4] = [VGG19, BERT, GPT2, VIDEO_MAE];

pub(crate) const VCPU_SECOND: f64 = 1.3e-5;
pub(crate) const GPU_UNIT_SECOND: f64 = 1.5e-5;
pub(crate) const REQUEST: f64 = 1.3e-7;
pub(crate) const UNITS: u32 = 24;
pub(crate) const TAU: f64 = 0.002;
pub(crate) const MAX_BATCH: u32 = 32;

pub(crate) fn seconds(value: f64) -> Seconds {
    Seconds::new(value).unwrap()
}

pub(crate) fn app(name: &str, slo: f64, rate: f64) -> App {
    App {
        name: name.to_owned(),
        slo: seconds(slo),
        percentile: Percentile::new(99.0).unwrap(),
        rate: Rate::new(rate).unwrap(),
        isolated: false,
        arrivals: ArrivalProcess::Poisson,
    }
}

pub(crate) fn exponential(coefficients: [f64; 3]) -> CpuCurve {
    let [alpha, beta, gamma] = coefficients;
    Exponential::new(alpha, beta, gamma).unwrap().into()
}

pub(crate) fn profile(model: &Coefficients) -> ModelProfile {
    let cpu = (1..)
        .zip(model.cpu_mean.iter().zip(&model.cpu_max))
        .map(|(batch, (&mean, &max))| CpuLatency {
            batch: BatchSize::new(batch).unwrap(),
            mean: exponential(mean),
            max: exponential(max),
        })
        .collect();
    let gpu = GpuLatency::new("a10", model.per_row, model.fixed, Memory::default()).unwrap();
    ModelProfile::new(cpu, vec![gpu], BatchSize::new(MAX_BATCH).unwrap()).unwrap()
}

pub(crate) fn a10() -> GpuPool {
    a10_shared(Sharing::FixedShare)
}

pub(crate) fn a10_shared(sharing: Sharing) -> GpuPool {
    let shares = (1..=UNITS).map(|units| GpuUnits::new(units).unwrap()).collect();
    let units = GpuUnits::new(UNITS).unwrap();
    GpuPool::new("a10", "a10", units, Bytes(1 << 30), seconds(TAU), sharing, shares).unwrap()
}

pub(crate) fn prices() -> Prices {
    Prices {
        vcpu_second: Price::new(VCPU_SECOND).unwrap(),
        gpu_unit_second: Price::new(GPU_UNIT_SECOND).unwrap(),
        request: Price::new(REQUEST).unwrap(),
    }
}

pub(crate) fn grid() -> CpuGrid {
    let vcpu = |millis| Vcpu::from_millis(millis).unwrap();
    CpuGrid::new(vcpu(50), vcpu(16_000), vcpu(50)).unwrap()
}

pub(crate) fn platform(billing: Billing) -> Platform {
    Platform::new(billing, prices(), Seconds::ZERO, Some(grid()), vec![a10()]).unwrap()
}

pub(crate) fn request(billing: Billing, model: &Coefficients, apps: Vec<App>) -> PlanRequest {
    let set = ModelSet::new("shop", model.name, profile(model), apps).unwrap();
    PlanRequest {
        platform: platform(billing),
        models: vec![set],
    }
}

/// Plans, and looks at the plan again.
pub(crate) fn audited(request: &PlanRequest) -> PlatformPlan {
    let found = plan_platform(request).unwrap();
    let checked = audit::check(request, &found);
    assert!(checked.is_ok(), "{checked:?}\n{request:#?}\n{found:#?}");
    found
}

/// The plans of all models, looked at again.
pub(crate) fn plan(request: &PlanRequest) -> Vec<Plan> {
    audited(request).plans
}

/// Plans one model on the paper's platform.
pub(crate) fn plan_one(billing: Billing, model: &Coefficients, apps: Vec<App>) -> Plan {
    plan(&request(billing, model, apps)).remove(0)
}

/// Plans one model on the paper's platform under a law of the batch size.
pub(crate) fn plan_under(arrivals: ArrivalModel, model: &Coefficients, apps: Vec<App>) -> Plan {
    let PlanRequest { platform, models } = request(Billing::PerInvocation, model, apps);
    let platform = platform.with_arrivals(arrivals);
    plan(&PlanRequest { platform, models }).remove(0)
}

/// Plans one model on the paper's platform under the exact law of the batch size.
pub(crate) fn plan_exactly(model: &Coefficients, apps: Vec<App>) -> Plan {
    plan_under(ArrivalModel::Exact, model, apps)
}

/// Plans one model on the paper's platform as the paper does.
pub(crate) fn plan_as_the_paper(model: &Coefficients, apps: Vec<App>) -> Plan {
    plan_under(ArrivalModel::Paper, model, apps)
}

/// The members of each group, as names.
pub(crate) fn membership(plan: &Plan) -> Vec<Vec<&str>> {
    plan.groups
        .iter()
        .map(|group| group.members.iter().map(|member| member.app.as_str()).collect())
        .collect()
}
