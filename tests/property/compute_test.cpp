// Physics of predicted passes, over every GPU that has a data sheet, every precision and batches
// from one sample to a thousand.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "calibrate/compute/compute_model.h"
#include "calibrate/compute/operator_rates.h"
#include "calibrate/profile/library.h"

namespace vitsim {
namespace {

constexpr std::array<std::int64_t, 9> kBatches = {1, 2, 4, 8, 16, 48, 128, 384, 1024};
constexpr std::array<Precision, 6> kPrecisions = {Precision::kFp32,
                                                  Precision::kTf32,
                                                  Precision::kFp16,
                                                  Precision::kBf16,
                                                  Precision::kAmpFp16,
                                                  Precision::kAmpBf16};
// A step may be as much faster than another that must not be faster: of rounding.
constexpr double kRounding = 1 + 1e-9;

const ProfileSet& shipped() {
  static const ProfileSet kSet = [] {
    ProfileSet set;
    const ProfileLibrary library({VITSIM_SOURCE_DIR "/configs/profiles"});
    for (GpuProfile& profile : library.all_gpus()) {
      const std::string name = profile.name;
      set.gpus.emplace(name, std::move(profile));
    }
    for (const std::string& name : library.gpu_names()) {
      if (auto sheet = library.sheet(name)) {
        set.sheets.emplace(name, *sheet);
      }
    }
    return set;
  }();
  return kSet;
}

TrainingSpec training(const char* model, Precision precision, std::int64_t batch) {
  TrainingSpec spec;
  spec.model = *vit_variant(model);
  spec.precision = precision;
  spec.micro_batch = {batch};
  return spec;
}

double step_seconds(const MicroBatchTimes& times) {
  return (times.forward + times.backward).value();
}

template <class Visit>
void for_all_gpus(Visit visit) {
  for (const auto& [gpu, sheet] : shipped().sheets) {
    for (const Precision precision : kPrecisions) {
      for (const char* model : {"vit-ti-16", "vit-b-16", "vit-l-16"}) {
        visit(gpu, sheet, precision, model);
      }
    }
  }
}

TEST(Compute, NoPassIsBelowArithmeticOrMemory) {
  for_all_gpus([](const auto& gpu, const GpuSheet& sheet, Precision precision, const char* model) {
    const TrainingSpec spec = training(model, precision, 16);
    const auto compute = make_compute_model(gpu, spec, 16, shipped());
    const PhysicalLimit forward(sheet, spec.model, precision, Pass::kForward);
    const PhysicalLimit backward(sheet, spec.model, precision, Pass::kBackward);
    for (const std::int64_t batch : kBatches) {
      const MicroBatchTimes times = compute->at(batch);
      EXPECT_GE(times.forward * kRounding, forward.at(batch))
          << gpu << " " << name(precision) << " " << model << " " << batch;
      EXPECT_GE(times.backward * kRounding, backward.at(batch))
          << gpu << " " << name(precision) << " " << model << " " << batch;
    }
  });
}

TEST(Compute, TimeAndMemoryGrowWithTheBatch) {
  for_all_gpus([](const auto& gpu, const GpuSheet&, Precision precision, const char* model) {
    const TrainingSpec spec = training(model, precision, 16);
    const auto compute = make_compute_model(gpu, spec, 16, shipped());
    double time = 0;
    double memory = 0;
    for (const std::int64_t batch : kBatches) {
      const MicroBatchTimes times = compute->at(batch);
      EXPECT_GE(step_seconds(times) * kRounding, time)
          << gpu << " " << name(precision) << " " << model << " " << batch;
      time = step_seconds(times);
      const double held = memory_parts(spec, 1, batch, compute->memory).total();
      EXPECT_GE(held, memory) << gpu << " " << name(precision) << " " << model << " " << batch;
      memory = held;
    }
  });
}

// Each figure of a data sheet half as good again.
TEST(Compute, AFasterSheetNeverMakesASlowerStep) {
  using Change = void (*)(GpuSheet&);
  const std::array<Change, 5> changes = {
      [](GpuSheet& sheet) { sheet.fp32 = 1.5 * sheet.fp32; },
      [](GpuSheet& sheet) { sheet.memory_bandwidth = 1.5 * sheet.memory_bandwidth; },
      [](GpuSheet& sheet) {
        if (sheet.tf32) {
          sheet.tf32 = 1.5 * *sheet.tf32;
        }
      },
      [](GpuSheet& sheet) {
        if (sheet.fp16) {
          sheet.fp16 = 1.5 * *sheet.fp16;
        }
      },
      [](GpuSheet& sheet) {
        if (sheet.bf16) {
          sheet.bf16 = 1.5 * *sheet.bf16;
        }
      },
  };
  ProfileSet set = shipped();
  for_all_gpus([&](const auto& gpu, const GpuSheet& sheet, Precision precision, const char* model) {
    const TrainingSpec spec = training(model, precision, 16);
    set.sheets["copy"] = sheet;
    const auto before = make_compute_model("copy", spec, 16, set);
    for (const Change& change : changes) {
      set.sheets["copy"] = sheet;
      change(set.sheets["copy"]);
      const auto after = make_compute_model("copy", spec, 16, set);
      for (const std::int64_t batch : {1, 16, 256}) {
        EXPECT_LE(step_seconds(after->at(batch)), step_seconds(before->at(batch)) * kRounding)
            << gpu << " " << name(precision) << " " << model << " " << batch;
      }
    }
  });
}

// The same card without its unit for a precision, and in fp32.
TEST(Compute, EmulationIsNeverFasterThanAUnitOrThanFp32) {
  ProfileSet set = shipped();
  for_all_gpus([&](const auto& gpu, const GpuSheet& sheet, Precision precision, const char* model) {
    if (precision == Precision::kFp32) {
      return;
    }
    GpuSheet bare = sheet;
    bare.tf32.reset();
    bare.fp16.reset();
    bare.bf16.reset();
    set.sheets["with"] = sheet;
    set.sheets["without"] = bare;
    const TrainingSpec spec = training(model, precision, 16);
    const auto with_unit = make_compute_model("with", spec, 16, set);
    const auto emulated = make_compute_model("without", spec, 16, set);
    const auto plain =
        make_compute_model("without", training(model, Precision::kFp32, 16), 16, set);
    EXPECT_NE(emulated->basis.detail.find("no unit"), std::string::npos);
    for (const std::int64_t batch : {1, 16, 256}) {
      const double seconds = step_seconds(emulated->at(batch));
      EXPECT_GE(seconds * kRounding, step_seconds(with_unit->at(batch)))
          << gpu << " " << name(precision) << " " << model << " " << batch;
      EXPECT_GE(seconds * kRounding, step_seconds(plain->at(batch)))
          << gpu << " " << name(precision) << " " << model << " " << batch;
    }
  });
}

}  // namespace
}  // namespace vitsim
