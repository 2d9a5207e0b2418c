#include "calibrate/import/kineto.h"

#include <array>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/import/kernel_kind.h"
#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

KinetoTrace read(const std::string& text) {
  std::istringstream stream(text);
  return read_kineto_trace(stream, "trace.json");
}

std::string trace_of(int rank) {
  return test::file_text(import_sample("traces/worker_" + std::to_string(rank) + ".pt.trace.json"));
}

// The samples' step, in microseconds from its start: kernels [100, 600), [600, 900) and
// [1950, 1990.25), a copy [50, 70), and an AllReduce [400, 1200) on rank 0, [400, 1100.5) on rank
// 1, 10 longer in the second step. The last kernel runs after its step's annotation, which ends at
// 1900, but was launched inside.
TEST(Kineto, MergesKernelsByTheStepThatLaunchedThem) {
  const KinetoTrace trace = read(trace_of(0));
  EXPECT_EQ(trace.rank, 0);
  EXPECT_EQ(trace.world_size, 2);
  EXPECT_EQ(trace.device, "NVIDIA A40");
  EXPECT_THAT(trace.warnings, IsEmpty());
  ASSERT_THAT(trace.steps, SizeIs(2));
  const ProfiledStep& first = trace.steps[0];
  EXPECT_EQ(first.number, 2);
  // From its copy at 50 to that of the next step at 2050.
  EXPECT_NEAR(first.wall_s, 2000e-6, 1e-12);
  EXPECT_NEAR(trace.steps[1].wall_s, 1940.25e-6, 1e-12);  // the last: to the end of its work
  EXPECT_NEAR(first.compute_s, 860.25e-6, 1e-12);         // 20 + 800 + 40.25
  EXPECT_NEAR(first.communication_s, 800e-6, 1e-12);
  EXPECT_NEAR(first.overlap_s, 500e-6, 1e-12);  // 400 to 900
  EXPECT_NEAR(trace.steps[1].communication_s, 810e-6, 1e-12);
  ASSERT_THAT(trace.collectives, SizeIs(2));
  EXPECT_EQ(trace.collectives[0].bytes, 1048576);  // 262144 floats
  EXPECT_EQ(trace.collectives[0].sequence, 1);
  EXPECT_EQ(trace.collectives[1].step, 3);
}

TEST(Kineto, TakesTheShortestOfTheRanksForEachCollective) {
  const std::array<KinetoTrace, 2> traces = {read(trace_of(0)), read(trace_of(1))};
  const Piece piece = join_kineto_traces(traces, "traces");
  EXPECT_THAT(piece.facts.gpus, ElementsAre("a40", "a40"));
  EXPECT_EQ(piece.facts.wall_clock_breakdown, false);
  EXPECT_THAT(figures(piece.samples, "communication", 1), SizeIs(2));
  const std::vector<double> reduced = figures(piece.samples, "all_reduce");
  ASSERT_THAT(reduced, SizeIs(2));
  EXPECT_NEAR(reduced[0], 700.5e-6, 1e-12);  // rank 1 came last and waited for nobody
  EXPECT_NEAR(reduced[1], 710.5e-6, 1e-12);
  ASSERT_NE(piece.samples.back().as<CollectiveSeries>(), nullptr);
  EXPECT_EQ(piece.samples.back().as<CollectiveSeries>()->bytes, 1048576);
  EXPECT_EQ(piece.samples.back().as<CollectiveSeries>()->ranks, 2);
}

TEST(Kineto, MatchesByOrderWhereNoSequenceIsRecorded) {
  const auto without = [](std::string text) {
    for (std::size_t at = text.find("\"Seq\""); at != std::string::npos;
         at = text.find("\"Seq\"")) {
      text.replace(at, 5, "\"Sxq\"");
    }
    return text;
  };
  const std::array<KinetoTrace, 2> traces = {read(without(trace_of(0))),
                                             read(without(trace_of(1)))};
  EXPECT_FALSE(traces[0].collectives[0].sequence);
  const std::vector<double> reduced =
      figures(join_kineto_traces(traces, "traces").samples, "all_reduce");
  ASSERT_THAT(reduced, SizeIs(2));
  EXPECT_NEAR(reduced[0], 700.5e-6, 1e-12);
}

TEST(Kineto, SaysWhenRanksAreMissingOrDouble) {
  const std::array<KinetoTrace, 1> one = {read(trace_of(1))};
  const Piece piece = join_kineto_traces(one, "traces");
  EXPECT_THAT(piece.facts.gpus, IsEmpty());
  EXPECT_THAT(piece.warnings,
              ElementsAre(HasSubstr("forward from backward"), HasSubstr("1 of 2 ranks")));
  const std::array<KinetoTrace, 2> twice = {read(trace_of(1)), read(trace_of(1))};
  EXPECT_THROW(join_kineto_traces(twice, "traces"), UserError);
}

TEST(Kineto, TakesATraceWithoutMarksAsOneStep) {
  const KinetoTrace trace = read(
      R"({"traceEvents": [
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 10, "dur": 5, "args": {"stream": 7}},
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 12, "dur": 8, "args": {"stream": 9}}]})");
  ASSERT_THAT(trace.steps, SizeIs(1));
  EXPECT_NEAR(trace.steps[0].compute_s, 10e-6, 1e-12);  // 10 to 20, both streams merged
  EXPECT_THAT(trace.warnings, SizeIs(1));
}

TEST(Kineto, RefusesATraceWithoutADevice) {
  EXPECT_THROW(read(R"({"traceEvents": [{"ph": "X", "cat": "cpu_op", "ts": 1, "dur": 2}]})"),
               UserError);
  EXPECT_THROW(read(""), UserError);
  EXPECT_THROW(read("{\"traceEvents\": 3}"), UserError);
}

TEST(Kineto, SurvivesFiguresOutOfRange) {
  EXPECT_THROW(read(R"({"traceEvents": [{"ph": "X", "cat": "kernel", "ts": 1e300, "dur": 1},
                               {"ph": "X", "cat": "kernel", "ts": 1, "dur": -5},
                               {"ph": "X", "cat": "kernel", "ts": 1, "dur": 1e300}]})"),
               UserError);
}

TEST(Kineto, CutAnywhereGivesABeginning) {
  const std::string text = trace_of(0);
  test::read_every_beginning(text, [&](const std::string& beginning) {
    const KinetoTrace part = read(beginning);
    ASSERT_LE(part.steps.size(), 2U);
    ASSERT_LE(part.collectives.size(), 2U);
    ASSERT_FALSE(part.warnings.empty() && beginning.size() + 2 < text.size());
  });
}

/// One device event with the call that launched it, and what else a test puts around.
struct TraceText {
  std::string events;
  int number = 0;

  void add(const std::string& category,
           const std::string& name,
           double begin_us,
           double length_us,
           int thread = 1,
           const std::string& arguments = "") {
    events += fmt::format(
        R"({}{{"ph": "X", "cat": "{}", "name": "{}", "pid": 1, "tid": {}, "ts": {}, "dur": {}, )"
        R"("args": {{{}}}}})",
        events.empty() ? "" : ",\n",
        category,
        name,
        thread,
        begin_us,
        length_us,
        arguments);
  }

  void kernel(
      const std::string& name, double launch_us, double begin_us, double length_us, int thread) {
    ++number;
    const std::string correlation = fmt::format(R"("correlation": {})", number);
    add("cuda_runtime", "cudaLaunchKernel", launch_us, 1, thread, correlation);
    add("kernel", name, begin_us, length_us, 7, correlation);
  }

  [[nodiscard]] std::string text() const {
    return R"({"schemaVersion": 1, "traceEvents": [)" + events + "]}";
  }
};

// The host launches step 1 within 100 us and step 2 within 900; the device takes 500 for either.
// Forward is launched by thread 1, backward by autograd's thread 2, the update inside
// Optimizer.step.
TEST(Kineto, TellsPhasesAndKindsOfKernelsByTheirLaunch) {
  TraceText trace;
  trace.add("user_annotation", "ProfilerStep#1", 0, 100);
  trace.add("user_annotation", "ProfilerStep#2", 100, 900);
  trace.add("cpu_op", "autograd::engine::evaluate_function: AddmmBackward0", 30, 20, 2);
  for (const auto& [host, device] : {std::pair(0.0, 50.0), {100.0, 550.0}}) {
    trace.kernel("ampere_sgemm_128x64_tn", host + 10, device, 100, 1);
    trace.kernel("flash_fwd_kernel", host + 11, device + 100, 50, 1);
    trace.kernel("cutlass_80_tensorop_s1688gemm", host + 40, device + 150, 200, 2);
    trace.kernel("vectorized_elementwise_kernel", host + 41, device + 350, 100, 2);
    trace.add("user_annotation", "Optimizer.step#AdamW.step", host + 60, 20);
    trace.kernel("multi_tensor_apply_kernel", host + 70, device + 450, 30, 1);
  }
  const KinetoTrace read_back = read(trace.text());
  ASSERT_THAT(read_back.steps, SizeIs(2));
  const ProfiledStep& step = read_back.steps[0];
  EXPECT_NEAR(step.wall_s, 500e-6, 1e-12);  // not the host's 100
  EXPECT_NEAR(step.phases_s.at(StepPart::kForward), 150e-6, 1e-12);
  EXPECT_NEAR(step.phases_s.at(StepPart::kBackwardCompute), 300e-6, 1e-12);
  EXPECT_NEAR(step.phases_s.at(StepPart::kOptimizer), 30e-6, 1e-12);
  EXPECT_NEAR(step.kinds_s.at({StepPart::kForward, KernelKind::kAttention}), 50e-6, 1e-12);
  EXPECT_NEAR(step.kinds_s.at({StepPart::kBackwardCompute, KernelKind::kGemm}), 200e-6, 1e-12);
  const Piece piece = join_kineto_traces(std::array{read_back}, "run");
  EXPECT_THAT(figures(piece.samples, "forward", 0), SizeIs(2));
  EXPECT_THAT(figures(piece.samples, "kernels", 0), SizeIs(2));
  EXPECT_THAT(piece.warnings, IsEmpty());
}

TEST(Kineto, ReadsTheCategoriesOfOldVersions) {
  TraceText trace;
  trace.add("Operator", "ProfilerStep#3", 0, 1000);
  trace.add("Runtime", "cudaLaunchKernel", 10, 1, 1, R"("correlation": 1)");
  trace.add("Kernel", "volta_sgemm_64x64_nn", 20, 300, 7, R"("correlation": 1)");
  trace.add("Memcpy", "Memcpy HtoD (Pageable -> Device)", 400, 100, 7);
  const KinetoTrace old = read(trace.text());
  ASSERT_THAT(old.steps, SizeIs(1));
  EXPECT_EQ(old.steps[0].number, 3);
  EXPECT_NEAR(old.steps[0].compute_s, 400e-6, 1e-12);
}

TEST(Kineto, MarkersAreNoCompute) {
  TraceText trace;
  trace.add("user_annotation", "ProfilerStep#1", 0, 1000);
  trace.kernel("Cijk_Ailk_Bljk_SB_MT64x64x16", 10, 20, 300, 1);
  trace.add("kernel", "Marker", 5, 990, 0, R"("stream": 0)");
  trace.add("kernel", "Stream Wait Event", 5, 990, 0, R"("stream": 0)");
  EXPECT_NEAR(read(trace.text()).steps.at(0).compute_s, 300e-6, 1e-12);
}

// Two cycles of one profiler: steps 1 and 2, then 11 and 12.
TEST(Kineto, JoinsTheCyclesOfOneProfiler) {
  const auto cycle = [](int first) {
    TraceText trace;
    for (int i = 0; i < 2; ++i) {
      trace.add("user_annotation", fmt::format("ProfilerStep#{}", first + i), 1000 * i, 1000);
      trace.kernel("sgemm", 1000 * i + 10, 1000 * i + 20, 300 + i, 1);
    }
    KinetoTrace read_back = read(trace.text());
    read_back.rank = 0;
    return read_back;
  };
  const Piece piece = join_kineto_traces(std::array{cycle(11), cycle(1)}, "run");
  EXPECT_THAT(figures(piece.samples, "compute", 0), SizeIs(4));
  // Step 2 ends where its work does: step 11 is of another cycle.
  EXPECT_THAT(figures(piece.samples, "step", 0), SizeIs(4));
}

TEST(KernelKind, IsToldByTheLibrariesNames) {
  using enum KernelKind;
  for (const auto& [name, kind] :
       {std::pair("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_64x4_tn", kGemm),
        {"nvjet_tst_128x64_64x8_2x1_v_bz_TNN", kGemm},
        {"Cijk_Alik_Bljk_BBS_BH_MT128x128x32", kGemm},
        {"void flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128>>(Flash_fwd_params)", kAttention},
        {"fmha_cutlassF_f16_aligned_64x64_rf_sm80(Params)", kAttention},
        {"sm80_xmma_fprop_implicit_gemm_f16f16", kConvolution},
        {"void cudnn::winograd_nonfused::winogradForwardData4x4<float>", kConvolution},
        {"void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", kUpdate},
        {"void at::native::vectorized_elementwise_kernel<4, gelu_conv>", kMemoryBound},
        {"void at::native::vectorized_layer_norm_kernel<float>", kMemoryBound},
        {"triton_per_fused_native_layer_norm_3", kMemoryBound},
        {"triton_tem_fused_addmm_2", kGemm},
        {"Memcpy HtoD (Pinned -> Device)", kCopy}}) {
    EXPECT_EQ(kernel_kind(name), kind) << name;
  }
  EXPECT_EQ(device_work("ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgs)"),
            DeviceWork::kCommunication);
  EXPECT_EQ(device_work("Marker"), DeviceWork::kMarker);
  EXPECT_EQ(device_work("sgemm"), DeviceWork::kCompute);
}

}  // namespace
}  // namespace vitsim
