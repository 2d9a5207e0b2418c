#include "sim/job/programs.h"

#include <algorithm>
#include <map>
#include <utility>

#include "sim/step/builder.h"
#include "sim/step/step_executor.h"

namespace vitsim {

namespace {

ClassWork class_work(const RankClass& ranks, const StepShape& shape, bool copies) {
  const ComputeModel& compute = *ranks.compute;
  ClassWork work{.optimizer = compute.optimizer,
                 .other = copies ? compute.other : Seconds(0),
                 .slowdown = ranks.slowdown,
                 .overlap_slowdown = compute.overlap_slowdown};
  for (std::int64_t i = 0; i < shape.count; ++i) {
    const MicroBatchTimes times = compute.at(i + 1 == shape.count ? shape.last : shape.size);
    work.micro_batches.push_back(
        {.data_load = times.data_load, .forward = times.forward, .backward = times.backward});
  }
  return work;
}

// Workers load the next step's images while this one runs: where that takes longer than the step,
// it waits for the difference. True where a class waits.
bool add_loader_waits(const ResolvedJob& job,
                      const std::vector<StepShape>& shapes,
                      const StepProgram& program,
                      StepInput& input) {
  std::vector<Seconds> loading(input.classes.size());
  bool is_bound = false;
  for (std::size_t position = job.world_size(); position-- > 0;) {
    const std::uint32_t of = input.class_of[position];
    const auto& loader = job.rank_class(position).compute->loader;
    if (!loader || loading[of] > Seconds(0)) {
      continue;
    }
    const ClassWork& work = input.classes[of];
    Seconds compute = work.optimizer + work.other;
    for (const MicroBatchSeconds& batch : work.micro_batches) {
      compute += batch.forward + batch.backward;
    }
    loading[of] = loader->step_limit(job.training.loader.workers,
                                     static_cast<double>(shapes[position].samples()),
                                     compute * work.slowdown);
    is_bound |= loading[of] > compute * work.slowdown;
  }
  if (!is_bound) {
    return false;
  }
  StepExecutor executor(job.group, program);
  std::vector<Tick> ends(job.world_size(), 0);
  executor.run(OperationTicks(program), ends, ends);
  const Seconds step = to_seconds(std::ranges::max(ends));
  bool waits = false;
  for (std::size_t of = 0; of < loading.size(); ++of) {
    if (loading[of] > step && !input.classes[of].micro_batches.empty()) {
      input.classes[of].micro_batches.front().data_load += loading[of] - step;
      waits = true;
    }
  }
  return waits;
}

std::shared_ptr<const StepProgram> program_of(const ResolvedJob& job,
                                              const std::vector<StepShape>& shapes,
                                              std::vector<std::uint32_t>* job_classes) {
  StepInput input{
      .all_reduce =
          [&](std::int64_t bytes) { return job.group->resolve(job.training.all_reduce, bytes); },
      .collective_overhead = to_ticks(job.collective_overhead)};
  // A short step may deal unequal samples to ranks that are equal in full ones.
  std::map<std::pair<std::uint32_t, std::int64_t>, std::uint32_t> index;
  input.class_of.reserve(job.world_size());
  for (std::size_t position = 0; position < job.world_size(); ++position) {
    const std::uint32_t of = job.class_of[position];
    const StepShape& shape = shapes[position];
    const auto [entry, fresh] =
        index.try_emplace({of, shape.samples()}, static_cast<std::uint32_t>(input.classes.size()));
    if (fresh) {
      if (job_classes != nullptr) {
        job_classes->push_back(of);
      }
      input.classes.push_back(
          class_work(job.classes[of], shape, copies_gradients(job.training, job.world_size())));
    }
    input.class_of.push_back(entry->second);
  }
  auto program = std::make_shared<StepProgram>(build_program(job.training, input));
  check_program(*program);
  if (add_loader_waits(job, shapes, *program, input)) {
    program = std::make_shared<StepProgram>(build_program(job.training, input));
  }
  return program;
}

}  // namespace

void build_programs(ResolvedJob& job) {
  job.full = program_of(job, job.plan.full, nullptr);
  if (job.plan.last_is_short()) {
    job.last = program_of(job, job.plan.last, &job.last_classes);
  }
}

}  // namespace vitsim
