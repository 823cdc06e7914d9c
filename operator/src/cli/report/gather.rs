//! What the page shows beyond the plan: simulations, the prices of other SLOs, other planners.

use std::time::{Duration, Instant};

use harmonybatch_controller::plan::Validated;
use harmonybatch_planner::{Billing, ModelSet, Plan, PlanRequest, Session, Simulation, simulate_plan};

use super::{ModelReport, Priced, Report};
use crate::cli::plan::pools::Limited;
use crate::cli::plan::{Compared, Named, baselines, request_of};
use crate::cli::{print, simulate};

/// What pricing may cost: applications planned anew, summed over the plans that it takes. About a minute where devices are short, seconds where
/// they are not; counted and not timed, so that the same input gives the same page.
const PLANNED_ANEW: usize = 30_000;

/// Plans that the prices of one application take.
const PLANS_FOR_PRICES: usize = 3;

/// At least so many applications of a model are priced, however many there are.
const FEWEST_PRICED: usize = 3;

/// Silence longer than this is broken by a line that says what is done.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was asked for on the command line.
pub(crate) struct Wishes {
    /// The command that makes the same page again.
    pub(crate) command: String,
    /// How many applications of each model are priced, where the user said.
    pub(crate) priced: Option<usize>,
    /// Whether other planners can be priced by the law of the plan.
    pub(crate) compare: bool,
}

/// Asks the planner. Long work says on standard error what it does.
pub(crate) fn gather<'a>(
    session: &Session,
    validated: &'a Validated,
    plans: &'a [Named],
    limited: &'a [Limited],
    wishes: Wishes,
) -> anyhow::Result<Report<'a>> {
    let mut progress = Progress {
        spoke: Instant::now(),
    };
    let mut models = Vec::new();
    for named in plans {
        let Some((request, set)) = request_of(validated, &named.plan) else {
            continue;
        };
        let title = format!("{}/{}", named.plan.namespace, named.plan.model);
        let simulated = match named.plan.billing {
            Billing::PerReplica => {
                progress.say(|| format!("playing requests through the groups of {title}"));
                simulate_plan(&request.platform, set, &named.plan, SIMULATION)
            }
            Billing::PerInvocation => Vec::new(),
        };
        let baselines = wishes.compare.then(|| {
            progress.say(|| format!("asking other planners about {title}"));
            if named.baselines.len() == Compared::All.baselines().len() {
                named.baselines.clone()
            } else {
                baselines::compare(request, &named.plan, Compared::All.baselines())
            }
        });
        let priced = prices(session, request, set, plans, &named.plan, &wishes, |done, all| {
            progress.say(|| format!("pricing other SLOs of {title}: {done} of {all} applications"));
        })?;
        models.push(ModelReport {
            named,
            set,
            simulated,
            priced,
            baselines,
        });
    }
    Ok(Report {
        command: wishes.command,
        models,
        limited,
    })
}

/// The stream that `harmonybatch simulate` plays, so that both say the same.
const SIMULATION: Simulation = Simulation {
    requests: simulate::REQUESTS,
    seed: simulate::SEED,
};

/// Other SLOs of the applications that cost most.
fn prices<'a>(
    session: &Session,
    request: &PlanRequest,
    set: &ModelSet,
    plans: &[Named],
    plan: &'a Plan,
    wishes: &Wishes,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<Vec<Priced<'a>>> {
    let anew: usize = request.models.iter().map(|set| set.apps().len()).sum();
    let affordable = PLANNED_ANEW / (PLANS_FOR_PRICES * anew.max(1)) / request.models.len().max(1);
    let wanted = wishes.priced.unwrap_or(affordable.max(FEWEST_PRICED));
    let mut members: Vec<_> = plan.groups.iter().flat_map(|group| &group.members).collect();
    members.sort_by(|a, b| {
        let dearer = b.cost_per_second.total_cmp(&a.cost_per_second);
        dearer.then_with(|| a.app.cmp(&b.app))
    });
    members.truncate(wanted);
    let of_request: Vec<Plan> = plans
        .iter()
        .map(|named| &named.plan)
        .filter(|plan| {
            let mut sets = request.models.iter();
            sets.any(|set| (set.namespace(), set.model()) == (&plan.namespace, &plan.model))
        })
        .cloned()
        .collect();
    let mut priced = Vec::with_capacity(members.len());
    for member in &members {
        progress(priced.len(), members.len());
        priced.push(Priced {
            app: &member.app,
            slo: member.slo,
            prices: session.slo_prices(request, &of_request, set.namespace(), set.model(), &member.app)?,
        });
    }
    Ok(priced)
}

/// Says something only where nothing was said for a while.
struct Progress {
    spoke: Instant,
}

impl Progress {
    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.spoke.elapsed() >= PATIENCE {
            print::error(&format!("report: {}", what()));
            self.spoke = Instant::now();
        }
    }
}
