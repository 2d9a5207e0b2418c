#include "sim/assess/compare.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vitsim {

namespace {

class Comparer {
 public:
  Comparer(const Report& a, const Report& b) : a_(a), b_(b) {}

  Comparison run() {
    quantiles("total", a_.total_s, b_.total_s);
    quantiles("epoch", a_.epoch_s, b_.epoch_s);
    quantiles("step", a_.step_s, b_.step_s);
    phases();
    part("exposed communication", a_.exposed_communication_s, b_.exposed_communication_s);
    part("wait, mean over ranks", a_.wait_s, b_.wait_s);
    ranks();
    slowest();
    parameters();
    return std::move(result_);
  }

 private:
  // What was run where; how often it was sampled, and where files are, makes no other training.
  static nlohmann::json parameters_of(const Report& report) {
    const nlohmann::json whole =
        nlohmann::json::parse(report.resolved_json, nullptr, /*allow_exceptions=*/false);
    nlohmann::json kept = nlohmann::json::object();
    for (const char* key : {"cluster", "training", "jobs", "events"}) {
      if (whole.is_object() && whole.contains(key)) {
        kept[key] = whole[key];
      }
    }
    return kept.empty() ? nlohmann::json() : kept.flatten();
  }

  void parameters() {
    const nlohmann::json a = parameters_of(a_);
    const nlohmann::json b = parameters_of(b_);
    if (a.is_null() || b.is_null()) {
      return;
    }
    nlohmann::json both = a;
    both.update(b);
    for (const auto& entry : both.items()) {
      const std::string& pointer = entry.key();
      const auto text = [&](const nlohmann::json& side) {
        return side.contains(pointer) ? side[pointer].dump() : "-";
      };
      if (text(a) != text(b) && !pointer.ends_with("/path")) {
        std::string key = pointer.substr(1);
        std::ranges::replace(key, '/', '.');
        result_.parameters.push_back({.key = std::move(key), .a = text(a), .b = text(b)});
      }
    }
  }

  void quantiles(const std::string& name, const Quantiles& a, const Quantiles& b) {
    if (a.p50 <= 0 || b.p50 <= 0) {
      result_.notes.push_back(fmt::format("{}: {} does not hold it", name, a.p50 <= 0 ? "A" : "B"));
      return;
    }
    result_.figures.push_back({.kind = ComparedFigure::Kind::kTotal,
                               .name = name,
                               .a = a.p50,
                               .b = b.p50,
                               .difference = b.p50 / a.p50 - 1,
                               .p05 = a.p05,
                               .p95 = a.p95});
  }

  void part(const std::string& name, double a, double b) {
    const double step = a_.step_s.p50;
    if (step > 0 && (a != 0 || b != 0)) {
      result_.figures.push_back({.kind = ComparedFigure::Kind::kPart,
                                 .name = name,
                                 .a = a,
                                 .b = b,
                                 .difference = (b - a) / step});
    }
  }

  void phases() {
    part("data load", a_.phases.data_load_s, b_.phases.data_load_s);
    part("forward", a_.phases.forward_s, b_.phases.forward_s);
    part("backward", a_.phases.backward_s, b_.phases.backward_s);
    part("gradient all-reduce", a_.phases.gradient_all_reduce_s, b_.phases.gradient_all_reduce_s);
    part("optimizer", a_.phases.optimizer_s, b_.phases.optimizer_s);
    part("other", a_.phases.other_s, b_.phases.other_s);
  }

  void ranks() {
    if (a_.ranks.size() != b_.ranks.size()) {
      result_.notes.push_back(fmt::format(
          "ranks: A has {}, B has {}: not compared one by one", a_.ranks.size(), b_.ranks.size()));
      return;
    }
    for (std::size_t rank = 0; rank < a_.ranks.size(); ++rank) {
      const RankReport& a = a_.ranks[rank];
      const RankReport& b = b_.ranks[rank];
      const std::string name = fmt::format("rank {} ({})", rank, a.gpu);
      part(name + " compute", a.compute_s, b.compute_s);
      if (a_.ranks.size() > 1) {
        part(name + " wait", a.wait_s, b.wait_s);
      }
      if (a.memory.total_bytes > 0 && b.memory.total_bytes > 0) {
        result_.figures.push_back(
            {.kind = ComparedFigure::Kind::kMemory,
             .name = name + " memory",
             .a = a.memory.total_bytes,
             .b = b.memory.total_bytes,
             .difference = b.memory.total_bytes / a.memory.total_bytes - 1,
             .judged = a.memory.parts.constant > 0 && b.memory.parts.constant > 0});
      }
    }
  }

  void slowest() {
    result_.named_a = likely_stragglers(a_);
    const std::vector<std::size_t> b = likely_stragglers(b_);
    if (b.empty()) {
      return;
    }
    result_.slowest_b = b.front();
    if (a_.ranks.size() != b_.ranks.size()) {
      return;
    }
    const RankReport& measured = a_.ranks[b.front()];
    result_.slowest_agree = std::ranges::any_of(result_.named_a, [&](std::size_t rank) {
      const RankReport& named = a_.ranks[rank];
      return rank == b.front() ||
             (named.gpu == measured.gpu && named.micro_batch == measured.micro_batch);
    });
  }

  const Report& a_;
  const Report& b_;
  Comparison result_;
};

std::string_view kind_name(ComparedFigure::Kind kind) {
  switch (kind) {
    case ComparedFigure::Kind::kTotal:
      return "total";
    case ComparedFigure::Kind::kPart:
      return "part of a step";
    case ComparedFigure::Kind::kMemory:
      return "memory";
  }
  return "";
}

}  // namespace

std::optional<bool> ComparedFigure::inside() const {
  if (!p05 || !p95) {
    return std::nullopt;
  }
  return b >= *p05 && b <= *p95;
}

const ComparedFigure* Comparison::find(std::string_view name) const {
  const auto found = std::ranges::find(figures, name, &ComparedFigure::name);
  return found == figures.end() ? nullptr : &*found;
}

std::vector<const ComparedFigure*> Comparison::beyond(double tolerance) const {
  std::vector<const ComparedFigure*> far;
  for (const ComparedFigure& figure : figures) {
    if (figure.judged && !(std::abs(figure.difference) <= tolerance)) {
      far.push_back(&figure);
    }
  }
  return far;
}

Comparison compare(const Report& a, const Report& b) {
  return Comparer(a, b).run();
}

nlohmann::json to_json(const Comparison& comparison, double tolerance) {
  nlohmann::json figures = nlohmann::json::array();
  for (const ComparedFigure& figure : comparison.figures) {
    const char* unit = figure.kind == ComparedFigure::Kind::kMemory ? "_bytes" : "_s";
    nlohmann::json row = {
        {"name", figure.name},
        {"kind", kind_name(figure.kind)},
        {std::string("a") + unit, figure.a},
        {std::string("b") + unit, figure.b},
        {"difference", figure.difference},
        {"judged", figure.judged},
        {"within_tolerance", !figure.judged || std::abs(figure.difference) <= tolerance}};
    if (const auto inside = figure.inside()) {
      row["inside_interval"] = *inside;
      row["p05_s"] = *figure.p05;
      row["p95_s"] = *figure.p95;
    }
    figures.push_back(std::move(row));
  }
  nlohmann::json json = {{"schema", "vitsim-comparison/1"},
                         {"tolerance", tolerance},
                         {"within", comparison.beyond(tolerance).empty()},
                         {"figures", std::move(figures)},
                         {"parameters", nlohmann::json::array()},
                         {"notes", comparison.notes}};
  for (const DifferentParameter& parameter : comparison.parameters) {
    json["parameters"].push_back({{"key", parameter.key}, {"a", parameter.a}, {"b", parameter.b}});
  }
  if (!comparison.named_a.empty() && comparison.slowest_b) {
    json["slowest_rank"] = {{"a", comparison.named_a.front()},
                            {"named", comparison.named_a},
                            {"b", *comparison.slowest_b}};
    if (comparison.slowest_agree) {
      json["slowest_rank"]["agree"] = *comparison.slowest_agree;
    }
  }
  return json;
}

}  // namespace vitsim
