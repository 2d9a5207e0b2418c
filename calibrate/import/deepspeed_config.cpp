#include "calibrate/import/deepspeed_config.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/error.h"

namespace vitsim {

namespace {

using Json = nlohmann::json;

std::optional<std::int64_t> count(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer() || found->get<std::int64_t>() < 1) {
    return std::nullopt;
  }
  return found->get<std::int64_t>();
}

bool enabled(const Json& json, const char* section) {
  const auto found = json.find(section);
  if (found == json.end() || !found->is_object()) {
    return false;
  }
  const auto on = found->find("enabled");
  return on != found->end() && on->is_boolean() && on->get<bool>();
}

}  // namespace

Piece read_deepspeed_config(std::istream& stream,
                            const std::string& origin,
                            const std::string& run) {
  Json json;
  try {
    json = Json::parse(stream);
  } catch (const Json::exception& error) {
    throw UserError(fmt::format("{}: cut or damaged: {}", origin, error.what()));
  }
  if (!json.is_object()) {
    throw UserError(fmt::format("{}: not an object", origin));
  }
  Piece piece{.origin = origin, .run = run, .authority = Authority::kConfiguration};
  RunFacts& facts = piece.facts;
  if (const auto micro_batch = count(json, "train_micro_batch_size_per_gpu")) {
    facts.micro_batch = {*micro_batch};
  }
  facts.accumulation = count(json, "gradient_accumulation_steps");
  facts.train_batch = count(json, "train_batch_size");
  facts.precision = enabled(json, "fp16")   ? Precision::kFp16
                    : enabled(json, "bf16") ? Precision::kBf16
                    : enabled(json, "amp")  ? Precision::kAmpFp16
                                            : Precision::kFp32;
  if (const auto zero = json.find("zero_optimization"); zero != json.end() && zero->is_object()) {
    const std::int64_t stage = zero->contains("stage") ? count(*zero, "stage").value_or(0) : 0;
    if (stage <= 1) {
      facts.gradient_sync =
          stage == 0 ? GradientSync::kDeepspeedZero0 : GradientSync::kDeepspeedZero1;
    } else {
      piece.warnings.push_back(
          fmt::format("{}: ZeRO stage {} is not known to the simulator", origin, stage));
    }
  }
  if (const auto optimizer = json.find("optimizer");
      optimizer != json.end() && optimizer->is_object() && optimizer->contains("type") &&
      optimizer->at("type").is_string()) {
    const std::string type = optimizer->at("type").get<std::string>();
    if (type == "Adam" || type == "AdamW") {
      facts.optimizer = OptimizerKind::kAdamW;
    } else if (type == "Lamb") {
      facts.optimizer = OptimizerKind::kLamb;
    } else if (type == "SGD") {
      facts.optimizer = OptimizerKind::kSgd;
    }
  }
  if (const auto timers = json.find("wall_clock_breakdown");
      timers != json.end() && timers->is_boolean()) {
    facts.wall_clock_breakdown = timers->get<bool>();
  }
  return piece;
}

}  // namespace vitsim
