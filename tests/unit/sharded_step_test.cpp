#include <utility>

#include <gtest/gtest.h>

#include "models/report/accounting.h"
#include "sim/sample/epoch_sampler.h"
#include "sim/step/builder.h"
#include "sim/step/communication_rows.h"
#include "sim/step/step_executor.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

constexpr Tick kMs = 1'000'000'000;

/// Two machines at 1 GB/s without latency: among them an AllGather or ReduceScatter of S bytes
/// takes S / 2 ns, an AllReduce S ns.
class Pair {
 public:
  explicit Pair(StepProgram program, std::vector<double> shares = {})
      : network_(testing::star(
            static_cast<std::int64_t>(program.positions()), BytesPerSecond(1e9), Seconds(0))),
        group_(std::make_shared<const Communicator>(
            network_,
            testing::all_ranks(static_cast<std::int64_t>(program.positions())),
            std::move(shares))),
        program_(std::move(program)),
        executor_(group_, program_) {
    check_program(program_);
  }

  [[nodiscard]] bool by_arrays() const { return executor_.by_arrays(); }

  Tick end() {
    const std::vector<Tick> starts(program_.positions(), 0);
    std::vector<Tick> ends(starts.size());
    executor_.run(OperationTicks(program_), starts, ends);
    return ends.front();
  }

 private:
  Network network_;
  std::shared_ptr<const Communicator> group_;
  StepProgram program_;
  StepExecutor executor_;
};

/// Forward of 10 ms, backward of 20 ms, an update of 2 ms.
StepInput input(std::size_t micro_batches = 1, std::size_t ranks = 2) {
  ClassWork work{.optimizer = milliseconds(2)};
  work.micro_batches.assign(micro_batches,
                            {.forward = milliseconds(10), .backward = milliseconds(20)});
  return {.classes = {work}, .class_of = std::vector<std::uint32_t>(ranks, 0)};
}

// Two micro-batches of 30 ms. Stage 1 reduces 4 MB once, in 4 ms; stage 2 behind both. Half of the
// update takes 1 ms, the AllGather of 4 MB 2 ms.
TEST(ShardedStep, Zero2ReducesEveryMicroBatch) {
  const ShardPlan plan{.gradients = {{.bytes = 4'000'000}}, .parameters = {4'000'000}};
  Pair once(zero_1_program(input(2), plan));
  EXPECT_TRUE(once.by_arrays());
  EXPECT_EQ(once.end(), (60 + 4 + 1 + 2) * kMs);
  EXPECT_EQ(Pair(zero_2_program(input(2), plan)).end(), (60 + 8 + 1 + 2) * kMs);
}

// Of two buckets of 4 ms the first is reduced from 20 to 24 ms, beside the second half of
// backward, which ends at 30; the second from there to 34.
TEST(ShardedStep, Zero2OverlapsWhereItHasSeveralBuckets) {
  const ShardPlan plan{
      .gradients = {{.bytes = 4'000'000, .ready_share = 0.5}, {.bytes = 4'000'000}},
      .overlaps = true};
  EXPECT_EQ(Pair(zero_2_program(input(), plan)).end(), (34 + 1) * kMs);
}

// Two Reduces of 2 MB, one for each rank's part: 2 ms each between two ranks.
TEST(ShardedStep, RootedReductionsFollowEachOther) {
  const ShardPlan plan{.gradients = {{.bytes = 4'000'000}}, .rooted = true};
  const StepProgram program = zero_1_program(input(), plan);
  Tick reduce = 0;
  {
    const Network network(testing::star(2, BytesPerSecond(1e9), Seconds(0)));
    const Communicator group(network, {0, 1});
    reduce =
        group.run(CollectiveKind::kReduce, Algorithm::kRing, 2'000'000, std::vector<Tick>{0, 0})
            .back();
  }
  EXPECT_EQ(reduce, 2 * kMs);
  EXPECT_EQ(Pair(program).end(), (30 + 4 + 1) * kMs);
}

// The root, 2 MB, is gathered in 1 ms, two blocks of 4 MB in 2 ms each: root 0 to 1, first block 1
// to 3, second 3 to 5. Forward: 1 ms before the blocks from 1; the first block 3 to 7, the second 7
// to 11, the head until 12. Backward: the second block is gathered beside the head's 2 ms, 12 to
// 14, the first beside the second's backward, 14 to 22. Its gradients are scattered from 22 to 24,
// while the first block takes until 30; then its own from 30 to 32, beside the last 2 ms, and the
// root's from 32 to 33. Half of the update: 1 ms.
TEST(ShardedStep, FsdpGathersOneUnitAhead) {
  FsdpPlan plan{.root = 2'000'000,
                .blocks = {{.elements = 4'000'000, .begin = 0.1, .end = 0.5},
                           {.elements = 4'000'000, .begin = 0.5, .end = 0.9}},
                .gather_element = 1,
                .reduce_element = 1};
  Pair step(fsdp_program(input(), plan));
  EXPECT_TRUE(step.by_arrays());
  EXPECT_EQ(step.end(), 34 * kMs);
  plan.reshards = false;  // backward waits for nothing: the gathers were hidden anyway
  EXPECT_EQ(Pair(fsdp_program(input(), plan)).end(), 34 * kMs);
}

// Where a block takes longer to gather than to compute every block waits: 3 blocks of 20 MB take
// 10 ms each to gather, 1 ms forward, 2 ms backward. Forward ends 1 ms behind the third gather, at
// 31. Backward gathers three times again, from 31 on; two blocks may be alive, so the second begins
// at once when the head is over (no head here: at 31, behind the first, until 51), the third when
// the first block has been computed, at 43, but behind the second: 51 to 61; then scatters of 10 ms
// each follow: 61 to 71, 71 to 81, 81 to 91. The update takes 2 / 2 ms.
TEST(ShardedStep, FsdpWaitsForSlowLinks) {
  FsdpPlan plan{.gather_element = 1, .reduce_element = 1};
  for (int i = 0; i < 3; ++i) {
    plan.blocks.push_back({.elements = 20'000'000, .begin = i / 3.0, .end = (i + 1) / 3.0});
  }
  StepInput work = input();
  work.classes[0].micro_batches = {{.forward = milliseconds(3), .backward = milliseconds(6)}};
  // Order on the links: gathers of blocks 3 and 2, then, in turn, the gather of block 1 and the
  // scatters of 3, 2 and 1.
  EXPECT_EQ(Pair(fsdp_program(work, plan)).end(), 92 * kMs);
}

// 4 MB are gathered in 2 ms, before forward. 32 ms later all gradients are scattered in 2 ms; the
// norm of 8 bytes takes 8 ns, half of the update 1 ms, two small tensors of 1 MB 0.5 ms each.
TEST(ShardedStep, Zero3GathersSmallTensorsOneByOne) {
  Zero3Plan plan{.weight_element = 1, .gradients = {{.bytes = 4'000'000}}};
  plan.gathers.calls = {4'000'000};
  plan.gathers.persistent = {1'000'000, 1'000'000};
  plan.gathers.steps = {{.begin = 0, .end = 1, .issues = {0}, .needs = 0},
                        {.is_backward = true, .begin = 0, .end = 1, .issues = {}, .needs = 0}};
  Pair step(zero_3_program(input(), plan));
  EXPECT_TRUE(step.by_arrays());
  EXPECT_EQ(step.end(), (2 + 30 + 2 + 1 + 1) * kMs + 8'000);
}

// The first rank holds three quarters. 4 MB are gathered in the 3 ms that its piece takes, and
// scattered in as much; the norm takes 8 ns and three quarters of the update 1.5 ms.
TEST(ShardedStep, TheLargestShardSetsTheTime) {
  Zero3Plan plan{.weight_element = 1, .gradients = {{.bytes = 4'000'000}}};
  plan.gathers.calls = {4'000'000};
  plan.gathers.steps = {{.begin = 0, .end = 1, .issues = {0}, .needs = 0},
                        {.is_backward = true, .begin = 0, .end = 1, .issues = {}, .needs = 0}};
  StepInput uneven = input();
  uneven.classes.push_back(uneven.classes.front());
  uneven.classes[0].shard = 0.75;
  uneven.classes[1].shard = 0.25;
  uneven.class_of = {0, 1};
  Pair step(zero_3_program(uneven, plan), {0.75, 0.25});
  EXPECT_TRUE(step.by_arrays());
  EXPECT_EQ(step.end(), (3 + 30 + 3 + 1) * kMs + kMs / 2 + 8'000);
}

// What goes to the host and comes back is the rank's share as well: of 4 million elements a rank
// with three quarters copies 3 MB there, in 3 ms, and back; the host's update takes 3 ms too.
TEST(ShardedStep, AHostUpdatesItsShard) {
  StepInput uneven = input();
  uneven.classes[0].offload = {.copy = BytesPerSecond(1e9), .update_per_parameter = Seconds(1e-9)};
  uneven.classes[0].shard = 0.75;
  uneven.class_of = {0};
  Zero3Plan plan{
      .weight_element = 1,
      .host = {
          .optimizer = true, .elements = 4'000'000, .gradient_element = 1, .weight_element = 1}};
  plan.gathers.steps = {{.begin = 0, .end = 1}, {.is_backward = true, .begin = 0, .end = 1}};
  EXPECT_EQ(Pair(zero_3_program(uneven, plan)).end(), (30 + 3 + 3 + 3) * kMs);
}

// A module's call is gathered while the module before it computes: 4 MB in 2 ms each. The first
// waits until 2 ms; the second, prefetched with it, is there at 4, before the first half ends at 7.
TEST(ShardedStep, Zero3Prefetches) {
  Zero3Plan plan{.weight_element = 1};
  plan.gathers.calls = {4'000'000, 4'000'000};
  plan.gathers.steps = {{.begin = 0, .end = 0.5, .issues = {0, 1}, .needs = 0},
                        {.begin = 0.5, .end = 1, .issues = {}, .needs = 1},
                        {.is_backward = true, .begin = 0, .end = 1, .issues = {}, .needs = 1}};
  EXPECT_EQ(Pair(zero_3_program(input(), plan)).end(), (2 + 10 + 20 + 1) * kMs + 8'000);
}

// Of 8 million parameters each of two ranks sends 4 million gradients of 4 bytes to its host, 16 ms
// at 1 GB/s; the host updates at 1 ns a parameter, 4 ms; the weights come back in 16 ms and are
// gathered among both, 32 MB in 16 ms. Gradients were reduced before, 32 MB in 32 ms.
TEST(ShardedStep, OffloadedOptimizersUpdateOnTheHost) {
  const ShardPlan plan{.gradients = {{.bytes = 32'000'000}},
                       .parameters = {32'000'000},
                       .host = {.optimizer = true, .elements = 8'000'000}};
  StepInput offloading = input();
  offloading.classes[0].offload = {.copy = BytesPerSecond(1e9),
                                   .update_per_parameter = Seconds(1e-9)};
  EXPECT_EQ(Pair(zero_1_program(offloading, plan)).end(), (30 + 32 + 16 + 4 + 16 + 16) * kMs);
  // One rank has nobody to talk to, and all of the state: 32, 8 and 32 ms.
  StepInput alone = offloading;
  alone.class_of = {0};
  EXPECT_EQ(Pair(zero_1_program(alone, plan)).end(), (30 + 32 + 8 + 32) * kMs);
}

// 30 ms, the update 2 ms; the average of 4 MB 4 ms, DiLoCo's outer step half an update.
TEST(ShardedStep, LocalStepsAverageBehindTheUpdate) {
  EXPECT_EQ(Pair(local_program(input(), 0, 0)).end(), 32 * kMs);
  EXPECT_EQ(Pair(local_program(input(), 4'000'000, 0)).end(), 36 * kMs);
  EXPECT_EQ(Pair(local_program(input(), 4'000'000, 0.5)).end(), 37 * kMs);
}

// An AllReduce of 80 MB takes 80 ms. Beside two steps of 30 ms it stalls a round for 20 ms, each
// step for 10; beside four it is hidden.
TEST(ShardedStep, Co2StallsForWhatDoesNotFitBesideItsSteps) {
  EXPECT_EQ(Pair(co2_program(input(), {}, 80'000'000, 2)).end(), (40 + 2) * kMs);
  EXPECT_EQ(Pair(co2_program(input(), {}, 80'000'000, 4)).end(), (30 + 2) * kMs);
}

// Steps 2, 5 and 8 of the first ten, counted from 0, end rounds of three.
TEST(RareSteps, AreCountedOncePerRound) {
  std::vector<RareProgram> rare(1);
  rare[0] = {.full = nullptr, .last = nullptr, .from = 0, .to = 100, .every = 3};
  EXPECT_EQ(rare_counts(rare, 0, 10), std::vector<double>{3});
  EXPECT_EQ(rare_counts(rare, 3, 6), std::vector<double>{1});
  EXPECT_EQ(rare_counts(rare, 100, 200), std::vector<double>{0});
}

// Of the first 12 steps every fourth belongs to the first kind, the other nine to the second.
TEST(RareSteps, TheFirstKindThatClaimsAStepHasIt) {
  std::vector<RareProgram> rare(2);
  rare[0] = {.full = nullptr, .last = nullptr, .from = 0, .to = 12, .every = 4};
  rare[1] = {.full = nullptr, .last = nullptr, .from = 0, .to = 12, .every = 1};
  EXPECT_EQ(rare_counts(rare, 0, 20), (std::vector<double>{3, 9}));
}

// Two machines, an AllGather of 6 MB (3 ms) hidden by 10 ms of compute for all but its last 1 ms.
TEST(CommunicationRows, TellWhatIsHidden) {
  StepProgram program{.class_of = {0, 0}, .axes = {{}}};
  program.classes.push_back(
      {.operations = {{.stream = Stream::kCommunication,
                       .phase = Phase::kParameterAllGather,
                       .what = Collective{.kind = CollectiveKind::kAllGather, .bytes = 6'000'000}},
                      {.phase = Phase::kForward, .what = Compute{.seconds = milliseconds(2)}},
                      {.phase = Phase::kOptimizer, .what = Compute{}, .after = {0}}},
       .update = 2});
  const Network network(testing::star(2, BytesPerSecond(1e9), Seconds(0)));
  const Communicator group(network, {0, 1});
  CommunicationRows rows(program);
  const std::vector<OperationTime> times = {
      {.stream = Stream::kCommunication, .begin = 0, .end = 3 * kMs, .alone = 3 * kMs},
      {.stream = Stream::kCompute, .begin = 0, .end = 2 * kMs},
      {.stream = Stream::kCompute, .begin = 3 * kMs, .end = 3 * kMs}};
  std::vector<std::int64_t> exposed;
  const StepAccount sums = account(times, 0, 3 * kMs, &exposed);
  EXPECT_EQ(sums.exposed, kMs);
  EXPECT_EQ(exposed, (std::vector<std::int64_t>{kMs, 0, 0}));
  rows.add(0, 1, std::vector<double>{3e-3, 0, 0}, std::vector<double>{1e-3, 0, 0});
  const auto found = rows.rows(group, AllReduceAlgorithm::kRing);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].collective, "all-gather");
  EXPECT_EQ(found[0].phase, "parameter_all_gather");
  EXPECT_EQ(found[0].group, "data");
  EXPECT_EQ(found[0].calls, 1);
  EXPECT_EQ(found[0].bytes, 6'000'000);
  EXPECT_DOUBLE_EQ(found[0].exposed_s, 1e-3);
}

// Two communicate at once from 1 to 3 ms: what nobody hides counts once, for the first of them.
TEST(Account, SharesExposedTimeAmongOperations) {
  const std::vector<OperationTime> times = {
      {.stream = Stream::kCommunication, .begin = 0, .end = 3 * kMs, .alone = 3 * kMs},
      {.stream = Stream::kReplicas, .begin = kMs, .end = 5 * kMs, .alone = 4 * kMs}};
  std::vector<std::int64_t> exposed;
  const StepAccount sums = account(times, 0, 5 * kMs, &exposed);
  EXPECT_EQ(sums.exposed, 5 * kMs);
  EXPECT_EQ(exposed, (std::vector<std::int64_t>{3 * kMs, 2 * kMs}));
}

}  // namespace
}  // namespace vitsim
