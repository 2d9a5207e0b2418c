#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/step/writer.h"

namespace vitsim {

/// The end of a step whose `ranks` ranks update a part each: small AllReduces, the update, by the
/// GPU or the host, the AllGathers behind it, and the rest. Everything waits for `after`. Where the
/// first axis has groups, `members` are the first of them.
void write_sharded_update(ProgramWriter& writer,
                          const StepInput& input,
                          const HostState& host,
                          const std::vector<std::int64_t>& scalars,
                          const std::vector<std::int64_t>& parameters,
                          std::int64_t ranks,
                          std::vector<std::uint32_t> after,
                          std::span<const std::uint32_t> members = {});

/// A step of ZeRO-1 or ZeRO-2.
StepProgram sharded_program(const StepInput& input, const ShardPlan& plan);

}  // namespace vitsim
