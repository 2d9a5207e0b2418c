#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/experiment/resolved.h"
#include "sim/plan/plan.h"

namespace vitsim {

namespace {

using OrderedJson = nlohmann::ordered_json;

template <class T>
OrderedJson or_null(const std::optional<T>& value) {
  return value ? OrderedJson(*value) : OrderedJson();
}

OrderedJson set_json(const std::vector<Override>& set) {
  OrderedJson json = OrderedJson::object();
  for (const Override& change : set) {
    const OrderedJson value = OrderedJson::parse(change.value, nullptr, false);
    json[change.key] = value.is_discarded() ? OrderedJson(change.value) : value;
  }
  return json;
}

OrderedJson quantiles_json(const Quantiles& quantiles) {
  return {{"mean", quantiles.mean},
          {"p05", or_null(quantiles.p05)},
          {"p50", quantiles.p50},
          {"p95", or_null(quantiles.p95)}};
}

void add_cost(OrderedJson& json, const std::optional<RunCost>& cost) {
  json["price"] = cost ? or_null(cost->price) : OrderedJson();
  json["energy_kwh"] = cost ? or_null(cost->energy_kwh) : OrderedJson();
  json["co2e_kg"] = cost ? or_null(cost->co2e_kg) : OrderedJson();
  json["gpu_hours"] = cost ? OrderedJson(cost->gpu_hours) : OrderedJson();
}

OrderedJson option_json(const PlanOption& option) {
  OrderedJson json = {{"change", option.change},
                      {"set", set_json(option.set)},
                      {"total_s", option.total_s.p50},
                      {"total_interval_s", quantiles_json(option.total_s)},
                      {"epoch_s", option.epoch_s.p50},
                      {"step_s", option.step_s}};
  add_cost(json, option.cost);
  json["memory"] = {{"fits", option.fits}, {"share", option.memory_share}};
  json["micro_batches"] = option.micro_batch;
  json["gradient_accumulation_steps"] = option.accumulation;
  json["gain_share"] = option.gain_share;
  json["p_better"] = or_null(option.p_better);
  json["keeps_limits"] = option.excess <= 0;
  json["limited_by"] = option.limited_by;
  if (option.goodput) {
    json["effective_share"] = option.goodput->effective_share;
  }
  return json;
}

OrderedJson step_json(const PlanStep& step) {
  OrderedJson json = {{"what", step.what}};
  if (!step.refusal.empty()) {
    json["problem"] = step.refusal;
    return json;
  }
  json["set"] = set_json(step.set);
  json["total_s"] = step.total_s;
  json["epoch_s"] = step.epoch_s;
  add_cost(json, step.cost);
  json["memory"] = {{"fits", step.fits}};
  json["micro_batches"] = step.micro_batch;
  json["gradient_accumulation_steps"] = step.accumulation;
  json["gain_share"] = step.gain_share;
  return json;
}

OrderedJson steps_json(const std::vector<PlanStep>& steps) {
  OrderedJson json = OrderedJson::array();
  for (const PlanStep& step : steps) {
    json.push_back(step_json(step));
  }
  return json;
}

}  // namespace

nlohmann::json to_json(const Plan& plan, const PlanRequest& request) {
  OrderedJson json = {
      {"schema", "vitsim-plan/1"},
      {"objective", kObjectiveNames[static_cast<std::size_t>(request.objective)]},
      {"deadline_s",
       request.limits.deadline ? OrderedJson(request.limits.deadline->value()) : OrderedJson()},
      {"budget", or_null(request.limits.budget)},
      {"headline", plan.headline},
      {"is_feasible", plan.is_feasible}};
  if (!plan.is_feasible) {
    json["miss"] = plan.miss;
  }
  json["base"] = option_json(plan.base);
  json["options"] = OrderedJson::array();
  for (const PlanOption& option : plan.options) {
    json["options"].push_back(option_json(option));
  }
  json["micro_batches"] =
      plan.balanced ? OrderedJson(plan.balanced->micro_batch) : OrderedJson(plan.base.micro_batch);
  json["balanced"] = plan.balanced ? step_json(*plan.balanced) : OrderedJson();
  json["without"] = steps_json(plan.without);
  json["with"] = steps_json(plan.with);
  json["limits_now"] = plan.limits_now;
  json["next"] = OrderedJson::array();
  for (const WhatIf& next : plan.next) {
    json["next"].push_back({{"change", next.change}, {"gain_share", next.gain_share}});
  }
  OrderedJson refused = OrderedJson::object();
  for (const auto& [reason, count] : plan.search.refused) {
    refused[reason] = count;
  }
  json["search"] = {{"candidates", plan.search.candidates},
                    {"predicted", plan.search.predicted},
                    {"bounded_away", plan.search.bounded_away},
                    {"not_tried", plan.search.not_tried},
                    {"interrupted", plan.search.interrupted},
                    {"refused", refused}};
  json["notes"] = plan.notes;
  return nlohmann::json::parse(json.dump());
}

}  // namespace vitsim
