#include "sim/predict/physics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/error.h"

namespace vitsim {

namespace {

// Profiles' spreads stretch transfers as they do compute: a predicted median may be faster than the
// figures by a little.
constexpr double kRounding = 1e-9;
constexpr double kPartsAddUp = 0.02;

// The fastest way out of any rank: no member of a group can send faster.
BytesPerSecond fastest_link(const Network& network) {
  double fastest = 0;
  for (LinkId link = 0; link < network.links().size(); ++link) {
    fastest = std::max(fastest, network.links()[link].bandwidth.value());
  }
  return BytesPerSecond(fastest);
}

}  // namespace

Seconds wire_limit(const ResolvedJob& job) {
  if (job.world_size() < 2) {
    return Seconds(0);
  }
  double bytes = 0;  // that each rank sends at least, mean over ranks
  for (const Operation& operation : job.full->classes.front().operations) {
    if (const Collective* collective = operation.collective()) {
      const auto& groups = job.full->axes[collective->axis].groups;
      const auto n = static_cast<double>(groups.empty() ? job.world_size() : groups.front().size());
      const double share = is_chain(collective->kind) ? 1 / n : (n - 1) / n;
      bytes += share * static_cast<double>(collective->bytes);
    }
  }
  return Bytes(bytes) / fastest_link(*job.network);
}

void check_physics(const ResolvedJob& job, const Report& report) {
  for (const RankClassReport& ranks : report.rank_classes) {
    VITSIM_CHECK(ranks.compute_s, >=, 0.0);
    VITSIM_CHECK(ranks.wait_s, >=, 0.0);
  }
  const double step_s = report.step_s.p50;
  VITSIM_CHECK(step_s, >, 0.0);
  VITSIM_CHECK(report.samples_per_epoch, >=, job.plan.subset);
  const double parts = report.phases.compute_s() + report.exposed_communication_s + report.wait_s;
  VITSIM_CHECK(std::abs(parts - step_s), <=, kPartsAddUp * step_s);
  // Half: where runs differ by much, half of them are faster than the profile says.
  VITSIM_CHECK(step_s, >=, 0.5 * (1 - kRounding) * wire_limit(job).value());
}

}  // namespace vitsim
