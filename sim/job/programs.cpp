#include "sim/job/programs.h"

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "models/error.h"
#include "models/experiment/rank_layout.h"
#include "sim/step/builder.h"
#include "sim/step/groups.h"
#include "sim/step/step_executor.h"

namespace vitsim {

namespace {

/// The axes along which a job's ranks communicate, where its model is split: gradients first.
struct SplitAxes {
  std::vector<GroupAxis> axes;
  std::uint32_t tensor = 0;
  std::uint32_t sequence = 0;
  std::uint32_t forward = 0;
  std::uint32_t backward = 0;
  std::optional<std::uint32_t> tied;
  std::optional<HybridAxes> hybrid;

  explicit SplitAxes(const ResolvedJob& job) {
    const RankLayout layout = job.layout();
    if (job.training.parallelism.model_ranks() == 1) {
      return;
    }
    add("data", layout.gradient_groups());
    if (layout.tensor() > 1) {
      tensor = add("tensor", layout.tensor_groups());
    }
    if (layout.sequence() > 1) {
      sequence = add("sequence", layout.sequence_groups());
    }
    if (layout.stages() > 1) {
      forward = add("pipeline", layout.pipelines());
      backward = add("pipeline", layout.pipelines());
      if (job.training.model.is_token_model()) {
        tied = add("embedding", layout.pipeline_ends());
      }
    }
    if (const auto shard_ranks = hybrid_shard_ranks(job.training, job.gradient_ranks())) {
      GroupAxis shards{.name = "shard"};
      GroupAxis replicas{.name = "replica"};
      for (const std::vector<std::uint32_t>& alike : layout.gradient_groups()) {
        add_hybrid_groups(alike, *shard_ranks, shards, replicas);
      }
      hybrid = HybridAxes{.shards = add(shards.name, std::move(shards.groups)),
                          .replicas = add(replicas.name, std::move(replicas.groups))};
    }
  }

 private:
  std::uint32_t add(std::string name, RankLayout::Groups groups) {
    axes.push_back({.name = std::move(name), .groups = std::move(groups)});
    return static_cast<std::uint32_t>(axes.size() - 1);
  }
};

/// Writes down what classes of ranks compute and call in a step.
class WorkWriter {
 public:
  explicit WorkWriter(const ResolvedJob& job)
      : job_(job),
        axes_(job),
        groups_(job.group,
                StepProgram{.classes = {}, .class_of = job.class_of, .axes = axes_.axes}) {
    for (std::uint32_t axis = 0; axis < axes_.axes.size(); ++axis) {
      widest_.push_back(widest_group(axis));
    }
  }

  [[nodiscard]] const std::vector<GroupAxis>& axes() const { return axes_.axes; }

  [[nodiscard]] const std::optional<HybridAxes>& hybrid() const { return axes_.hybrid; }

  /// By the group of the axis that spans the most nodes, so that all choose alike.
  [[nodiscard]] Algorithm algorithm(std::uint32_t axis,
                                    CollectiveKind kind,
                                    std::int64_t bytes) const {
    return groups_.group(axis, widest_[axis]).resolve(job_.training.all_reduce, kind, bytes);
  }

  [[nodiscard]] ClassWork work(const RankClass& ranks, const StepShape& shape) const {
    const ComputeModel& compute = *ranks.compute;
    const ModelPart& part = ranks.held.part;
    const double share = ComputeModel::share_of(part);
    const bool copies =
        copies_gradients(job_.training, static_cast<std::size_t>(job_.gradient_ranks()));
    ClassWork work{.optimizer = compute.optimizer * share,
                   .other = copies ? compute.other * share : Seconds(0),
                   .slowdown = ranks.slowdown,
                   .overlap_slowdown = compute.overlap_slowdown,
                   .offload = ranks.offload,
                   .shard = ranks.held.shard};
    if (!axes_.axes.empty()) {
      work.part = part;
      work.replica = replica(ranks);
      check_length(*work.replica, shape.count);
    }
    for (std::int64_t i = 0; i < shape.count; ++i) {
      const std::int64_t samples = i + 1 == shape.count ? shape.last : shape.size;
      work.micro_batches.push_back(work.replica ? in_chunks(ranks, samples, *work.replica)
                                                : micro_batch(compute.at(samples, part, {})));
    }
    if (work.replica) {
      fill_rounds(*work.replica, work.micro_batches);
    }
    return work;
  }

 private:
  /// A step is a list of operations: one that would fill the memory is refused.
  static void check_length(const ReplicaWork& replica, std::int64_t micro_batches) {
    constexpr double kMostOperations = 2e7;
    double calls = 0;
    for (const ChunkWork& chunk : replica.chunks) {
      calls += 4 + static_cast<double>(chunk.forward_calls.size() + chunk.backward_calls.size());
    }
    if (2 * calls * static_cast<double>(micro_batches) > kMostOperations) {
      throw UserError(fmt::format(
          "a step of {} micro-batches with {} calls within a replica in each is too long "
          "to be predicted: take fewer, larger micro-batches",
          micro_batches,
          calls));
    }
  }

  /// The interleaved schedule goes in rounds of one micro-batch a stage: a short step's last round
  /// is filled up with empty ones.
  static void fill_rounds(ReplicaWork& replica, std::vector<MicroBatchSeconds>& micro_batches) {
    if (replica.chunks.size() < 2) {
      return;
    }
    while (std::ssize(micro_batches) % replica.pipeline->stages != 0) {
      micro_batches.emplace_back();
      replica.samples.push_back(0);
      for (ChunkWork& chunk : replica.chunks) {
        chunk.forward.emplace_back();
        chunk.backward.emplace_back();
      }
    }
  }

  static MicroBatchSeconds micro_batch(const MicroBatchTimes& times) {
    return {.data_load = times.data_load, .forward = times.forward, .backward = times.backward};
  }

  [[nodiscard]] std::uint32_t widest_group(std::uint32_t axis) const {
    std::uint32_t widest = 0;
    std::size_t most = 0;
    // Groups of an axis are alike but for where nodes begin: the first ones show it.
    constexpr std::size_t kEnough = 256;
    const std::size_t count = std::min(kEnough, groups_.group_count(axis));
    for (std::uint32_t group = 0; group < count; ++group) {
      const std::size_t nodes = groups_.group(axis, group).nodes().size();
      if (nodes > most) {
        most = nodes;
        widest = group;
      }
    }
    return widest;
  }

  [[nodiscard]] BlockCalls calls_of(const ModelPart& part) const {
    const ParallelismSpec& split = job_.training.parallelism;
    const Precision precision = job_.training.precision;
    BlockCalls calls = tensor_calls(part, precision, axes_.tensor);
    if (part.sequence > 1) {
      calls = joined(calls, sequence_calls(part, split.sequence->kind, precision, axes_.sequence));
    }
    return calls;
  }

  [[nodiscard]] ReplicaWork replica(const RankClass& ranks) const {
    const TrainingSpec& training = job_.training;
    const ModelPart& part = ranks.held.part;
    ReplicaWork replica{.loads_data = part.embedding};
    for (std::size_t i = 0; i < part.blocks.size(); ++i) {
      ChunkWork& chunk = replica.chunks.emplace_back();
      place_calls(part.chunk(i), calls_of(part), chunk);
    }
    const PipelineSpec& pipeline = training.parallelism.pipeline;
    if (pipeline.stages > 1) {
      replica.pipeline =
          StageWork{.stage = ranks.held.stage,
                    .stages = pipeline.stages,
                    .schedule = pipeline.schedule,
                    .forward_axis = axes_.forward,
                    .backward_axis = axes_.backward,
                    .bytes_per_sample = static_cast<double>(part.norm_tokens() * part.model.width) *
                                        arithmetic_bytes(training.precision).value()};
      if (axes_.tied && (part.embedding || part.head)) {
        replica.tied_axis = axes_.tied;
        replica.tied_bytes =
            (part.model.vocabulary + part.tensor - 1) / part.tensor * part.model.width *
            static_cast<std::int64_t>(gradient_bytes_per_parameter(training.precision).value());
      }
    }
    return replica;
  }

  /// Adds one micro-batch to the chunks of `replica`; returns the sum of their passes.
  MicroBatchSeconds in_chunks(const RankClass& ranks,
                              std::int64_t samples,
                              ReplicaWork& replica) const {
    const ModelPart& part = ranks.held.part;
    const BlockCalls calls = calls_of(part);
    replica.samples.push_back(samples);
    MicroBatchSeconds sum;
    for (std::size_t i = 0; i < part.blocks.size(); ++i) {
      const ModelPart chunk = part.chunk(i);
      const auto blocks = static_cast<double>(chunk.block_count());
      const MicroBatchTimes times = ranks.compute->at(
          samples,
          chunk,
          {.forward = blocks * waited_for(calls.forward, samples, ranks.first),
           .backward = blocks * waited_for(calls.backward, samples, ranks.first)});
      replica.chunks[i].forward.push_back(times.forward);
      replica.chunks[i].backward.push_back(times.backward);
      sum.data_load += times.data_load;
      sum.forward += times.forward;
      sum.backward += times.backward;
    }
    return sum;
  }

  /// What a block's calls take of which compute waits for the end.
  [[nodiscard]] Seconds waited_for(const std::vector<PassCall>& calls,
                                   std::int64_t samples,
                                   std::uint32_t position) const {
    Tick sum = 0;
    for (const PassCall& call : calls) {
      if (call.what == PassCall::What::kCollective) {
        const auto bytes =
            static_cast<std::int64_t>(call.bytes_per_sample * static_cast<double>(samples));
        const Collective collective{.kind = call.kind,
                                    .algorithm = algorithm(call.axis, call.kind, bytes),
                                    .bytes = bytes,
                                    .axis = call.axis};
        const std::uint32_t group = groups_.place(call.axis, position).group;
        sum += groups_.together(collective, group).value_or(0);
      }
    }
    return to_seconds(sum);
  }

  const ResolvedJob& job_;
  SplitAxes axes_;
  ProgramGroups groups_;
  std::vector<std::uint32_t> widest_;  // by axis
};

// Workers load the next step's images while this one runs: where that takes longer than the step,
// it waits for the difference. True where a class waits.
bool add_loader_waits(const ResolvedJob& job,
                      const std::vector<StepShape>& shapes,
                      const StepProgram& program,
                      StepInput& input) {
  if (std::ranges::none_of(
          job.classes, [](const RankClass& each) { return each.compute->loader.has_value(); })) {
    return false;  // nobody measured loading: no rank need be looked at
  }
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
                     const WorkWriter& writer,
                     const std::vector<StepShape>& shapes,
                     std::vector<std::uint32_t>* job_classes) {
  StepInput input{
      .collective_overhead = to_ticks(job.collective_overhead),
      .axes = writer.axes(),
      .hybrid = writer.hybrid(),
      .axis_algorithm = [&writer](std::uint32_t axis, CollectiveKind kind, std::int64_t bytes) {
        return writer.algorithm(axis, kind, bytes);
      }};
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
      input.classes.push_back(writer.work(job.classes[of], shape));
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
  const WorkWriter writer(job);
  const std::int64_t steps = job.plan.steps * job.training.epochs;
  TrainingPrograms full =
      programs_of(job, job.plan.full, step_input(job, writer, job.plan.full, nullptr), steps);
  job.full = checked(std::move(full.usual));
  for (RareSteps& rare : full.rare) {
    job.rare.push_back({.full = checked(std::move(rare.program)),
                        .last = nullptr,
                        .from = rare.from,
                        .to = rare.to,
                        .every = rare.every});
  }
  if (job.plan.last_is_short()) {
    TrainingPrograms last = programs_of(
        job, job.plan.last, step_input(job, writer, job.plan.last, &job.last_classes), steps);
    job.last = checked(std::move(last.usual));
    for (std::size_t i = 0; i < last.rare.size(); ++i) {
      job.rare[i].last = checked(std::move(last.rare[i].program));
    }
  }
}

}  // namespace vitsim
