#include "sim/job/programs.h"

#include <algorithm>
#include <map>
#include <span>
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
                 .overlap_slowdown = compute.overlap_slowdown,
                 .offload = ranks.offload};
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

/// Step input of these shapes; `job_classes`, if given, receives the job's class of each class.
StepInput step_input(const ResolvedJob& job,
                     const std::vector<StepShape>& shapes,
                     std::vector<std::uint32_t>* job_classes) {
  StepInput input{.collective_overhead = to_ticks(job.collective_overhead)};
  using Members = std::vector<std::uint32_t>;
  const auto known = std::make_shared<std::map<Members, Communicator>>();
  input.algorithm = [&job, known](CollectiveKind kind,
                                  std::int64_t bytes,
                                  std::span<const std::uint32_t> members) {
    if (members.empty()) {
      return job.group->resolve(job.training.all_reduce, kind, bytes);
    }
    const Members key(members.begin(), members.end());
    auto group = known->find(key);
    if (group == known->end()) {
      std::vector<std::int64_t> ranks;
      for (const std::uint32_t position : members) {
        ranks.push_back(job.ranks()[position]);
      }
      group = known->try_emplace(key, *job.network, std::move(ranks)).first;
    }
    return group->second.resolve(job.training.all_reduce, kind, bytes);
  };
  // A short step may deal unequal samples to ranks that are equal in full ones.
  std::map<std::pair<std::uint32_t, std::int64_t>, std::uint32_t> index;
  input.class_of.reserve(job.world_size());
  input.node_of.reserve(job.world_size());
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
    input.node_of.push_back(
        static_cast<std::uint32_t>(job.network->node_of(job.ranks()[position])));
  }
  return input;
}

std::shared_ptr<const StepProgram> checked(StepProgram program) {
  check_program(program);
  return std::make_shared<const StepProgram>(std::move(program));
}

/// The programs of a training with what its steps wait for data.
TrainingPrograms programs_of(const ResolvedJob& job,
                             const std::vector<StepShape>& shapes,
                             StepInput input,
                             std::int64_t steps) {
  TrainingPrograms programs = training_programs(job.training, input, steps);
  if (add_loader_waits(job, shapes, programs.usual, input)) {
    programs = training_programs(job.training, input, steps);
  }
  return programs;
}

}  // namespace

void build_programs(ResolvedJob& job) {
  const std::int64_t steps = job.plan.steps * job.training.epochs;
  TrainingPrograms full =
      programs_of(job, job.plan.full, step_input(job, job.plan.full, nullptr), steps);
  job.full = checked(std::move(full.usual));
  for (RareSteps& rare : full.rare) {
    job.rare.push_back({.full = checked(std::move(rare.program)),
                        .last = nullptr,
                        .from = rare.from,
                        .to = rare.to,
                        .every = rare.every});
  }
  if (job.plan.last_is_short()) {
    TrainingPrograms last =
        programs_of(job, job.plan.last, step_input(job, job.plan.last, &job.last_classes), steps);
    job.last = checked(std::move(last.usual));
    for (std::size_t i = 0; i < last.rare.size(); ++i) {
      job.rare[i].last = checked(std::move(last.rare[i].program));
    }
  }
}

}  // namespace vitsim
