#pragma once

#include <optional>
#include <string>

#include "sim/job/resolved_job.h"

namespace vitsim {

/// A ring has 2(N-1) steps, so that its latency grows with the ranks N while its bytes stay. Where
/// latency is more than half of what the AllReduces of a step take, a sentence says so, and what
/// the fastest other algorithm would take; else nothing.
std::optional<std::string> ring_latency_sentence(const ResolvedJob& job);

}  // namespace vitsim
