#include "sim/plan/gpu_sets.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "models/error.h"

namespace vitsim {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostSets = 1024;
constexpr std::int64_t kFewNodes = 6;

std::string model_of(const Json& gpu) {
  return gpu.is_object() ? gpu.value("model", "") : gpu.get<std::string>();
}

/// An element of the file's nodes.
struct NodeEntry {
  std::size_t index = 0;
  std::string name;
  std::int64_t count = 1;
  std::vector<std::size_t> links;  // of the file that name it
};

/// Nodes that are alike but for their names.
struct NodeKind {
  std::vector<NodeEntry> entries;
  Json gpus;  // of each node
  std::int64_t count = 0;

  [[nodiscard]] std::set<std::string> models() const {
    std::set<std::string> found;
    for (const Json& gpu : gpus) {
      found.insert(model_of(gpu));
    }
    return found;
  }
};

/// So many nodes of a kind, each with these GPUs.
struct KindChoice {
  std::int64_t count = 0;
  Json gpus;
};

std::vector<NodeKind> node_kinds(const Json& file) {
  std::vector<NodeKind> kinds;
  std::vector<Json> alike;
  const Json& nodes = file.at("cluster").at("nodes");
  const Json links = file.at("cluster").value("links", Json::array());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].is_null()) {
      continue;
    }
    Json rest = nodes[i];
    for (const char* own : {"name", "count", "host"}) {
      rest.erase(own);
    }
    NodeEntry entry{.index = i,
                    .name = nodes[i].value("name", fmt::format("node-{}", i)),
                    .count = nodes[i].value("count", std::int64_t{1})};
    for (std::size_t link = 0; link < links.size(); ++link) {
      if (links[link].is_null()) {
        continue;
      }
      // Of nodes that are alike, links are alike but for the node's name.
      Json other = links[link];
      for (Json& end : other["ends"]) {
        if (end == entry.name) {
          entry.links.push_back(link);
          end = "";
        }
      }
      if (!entry.links.empty() && entry.links.back() == link) {
        rest["links"].push_back(other);
      }
    }
    const auto same = std::ranges::find(alike, rest);
    const auto at = static_cast<std::size_t>(same - alike.begin());
    if (same == alike.end()) {
      alike.push_back(rest);
      kinds.push_back({.entries = {}, .gpus = nodes[i].at("gpus")});
    }
    kinds[at].entries.push_back(entry);
    kinds[at].count += entry.count;
  }
  return kinds;
}

Json without_models(const Json& gpus, const std::set<std::string>& models) {
  Json left = Json::array();
  for (const Json& gpu : gpus) {
    if (!models.contains(model_of(gpu))) {
      left.push_back(gpu);
    }
  }
  return left;
}

/// Ways to use a kind, all of it first. `few`: all or nothing, of each kind of GPU.
std::vector<KindChoice> choices_of(const NodeKind& kind, bool few) {
  std::vector<KindChoice> choices = {{.count = kind.count, .gpus = kind.gpus}};
  const auto add = [&](std::int64_t count, const Json& gpus) {
    const bool known = std::ranges::any_of(choices, [&](const KindChoice& other) {
      return other.count == count && (count == 0 || other.gpus == gpus);
    });
    if (!known) {
      choices.push_back({.count = count, .gpus = gpus});
    }
  };
  add(0, kind.gpus);
  const std::set<std::string> models = kind.models();
  if (models.size() > 1) {
    // Each kind of GPU left out by itself, and each kept by itself.
    for (const std::string& model : models) {
      add(kind.count, without_models(kind.gpus, {model}));
      std::set<std::string> others = models;
      others.erase(model);
      add(kind.count, without_models(kind.gpus, others));
    }
  }
  if (few) {
    return choices;
  }
  for (std::int64_t count = kind.count - 1; count > 0; --count) {
    const bool is_quarter = (4 * count) % kind.count < 4;
    if (kind.count <= kFewNodes || count == kind.count - 1 || is_quarter) {
      add(count, kind.gpus);
    }
  }
  if (models.size() == 1) {
    for (std::size_t gpus = 1; gpus < kind.gpus.size(); gpus *= 2) {
      add(1,
          Json(std::vector<Json>(kind.gpus.begin(),
                                 kind.gpus.begin() + static_cast<std::ptrdiff_t>(gpus))));
    }
  }
  return choices;
}

/// GPUs by name.
using Counts = std::map<std::string, std::int64_t>;

void count_gpus(Counts& counts, const Json& gpus, std::int64_t nodes) {
  for (const Json& gpu : gpus) {
    counts[model_of(gpu)] += nodes;
  }
}

// The file's nodes as they are to be, entry by entry: the first ones of a kind are kept.
void apply(const NodeKind& kind, const KindChoice& choice, GpuSet& set) {
  std::int64_t left = choice.count;
  for (const NodeEntry& entry : kind.entries) {
    const std::int64_t kept = std::min(left, entry.count);
    left -= kept;
    if (kept == 0) {
      set.set.push_back({fmt::format("cluster.nodes.{}", entry.index), "null"});
      for (const std::size_t link : entry.links) {
        const Override none{fmt::format("cluster.links.{}", link), "null"};
        const bool known = std::ranges::any_of(
            set.set, [&](const Override& change) { return change.key == none.key; });
        if (!known) {
          set.set.push_back(none);
        }
      }
    } else if (kept != entry.count) {
      set.set.push_back(
          {fmt::format("cluster.nodes.{}.count", entry.index), fmt::format("{}", kept)});
    }
    if (kept > 0 && choice.gpus != kind.gpus) {
      set.set.push_back({fmt::format("cluster.nodes.{}.gpus", entry.index), choice.gpus.dump()});
    }
  }
}

std::string names_of(const NodeKind& kind) {
  std::vector<std::string> names;
  for (const NodeEntry& entry : kind.entries) {
    names.push_back(entry.count > 1 ? fmt::format("{} x {}", entry.count, entry.name) : entry.name);
  }
  constexpr std::size_t kMostNames = 3;
  if (names.size() > kMostNames) {
    const std::size_t more = names.size() - kMostNames;
    names.resize(kMostNames);
    names.push_back(fmt::format("{} more", more));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

/// Every combination of choices, the first one that of the whole file.
class SetMaker {
 public:
  explicit SetMaker(std::vector<NodeKind> kinds) : kinds_(std::move(kinds)) {
    for (const NodeKind& kind : kinds_) {
      count_gpus(all_, kind.gpus, kind.count);
    }
  }

  [[nodiscard]] GpuSet make(const std::vector<KindChoice>& choices) const {
    GpuSet set;
    Counts kept;
    std::vector<std::string> places;
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      apply(kinds_[i], choices[i], set);
      count_gpus(kept, choices[i].gpus, choices[i].count);
      if (choices[i].count == 0) {
        places.push_back(names_of(kinds_[i]));
      }
    }
    std::vector<std::string> words;
    for (const auto& [model, count] : all_) {
      const std::int64_t gone = count - kept[model];
      if (gone > 0) {
        set.left_out.push_back(gone < count
                                   ? fmt::format("{} of the {} {}", gone, count, gpu_title(model))
                               : count > 1 ? fmt::format("the {} {}", count, gpu_title(model))
                                           : fmt::format("the {}", gpu_title(model)));
        words.push_back(gone < count ? fmt::format("{} of {} {}", gone, count, model)
                        : count > 1  ? fmt::format("all {} {}", count, model)
                                     : fmt::format("the {}", model));
      }
    }
    if (!words.empty()) {
      set.change = fmt::format(
          "leave out {}{}",
          fmt::join(words, ", "),
          places.empty() ? std::string() : fmt::format(" ({})", fmt::join(places, ", ")));
    }
    return set;
  }

  /// One node of each kind left out, and each kind of GPU.
  [[nodiscard]] std::vector<GpuSet> single_steps() const {
    std::vector<GpuSet> steps;
    std::vector<KindChoice> all;
    for (const NodeKind& kind : kinds_) {
      all.push_back({.count = kind.count, .gpus = kind.gpus});
    }
    const auto add = [&](const std::vector<KindChoice>& choices, std::string step) {
      const bool is_empty = std::ranges::all_of(choices, [](const KindChoice& choice) {
        return choice.count == 0 || choice.gpus.empty();
      });
      if (!is_empty) {
        GpuSet set = make(choices);
        const bool known = std::ranges::any_of(
            steps, [&](const GpuSet& other) { return other.change == set.change; });
        if (!known) {
          set.is_one_step = true;
          set.step = std::move(step);
          steps.push_back(std::move(set));
        }
      }
    };
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      std::vector<KindChoice> choices = all;
      --choices[i].count;
      const std::set<std::string> models = kinds_[i].models();
      add(choices,
          fmt::format("node {} ({}{})",
                      kinds_[i].entries.back().name,
                      kinds_[i].count > 1 ? fmt::format("one of {}: ", kinds_[i].count) : "",
                      fmt::join(models, ", ")));
    }
    for (const auto& [model, count] : all_) {
      std::vector<KindChoice> choices = all;
      for (KindChoice& choice : choices) {
        choice.gpus = without_models(choice.gpus, {model});
        choice.count = choice.gpus.empty() ? 0 : choice.count;
        choice.gpus = choice.gpus.empty()
                          ? all[static_cast<std::size_t>(&choice - choices.data())].gpus
                          : choice.gpus;
      }
      add(choices,
          count > 1 ? fmt::format("every {} ({})", model, count) : fmt::format("{}", model));
    }
    return steps;
  }

  /// All combinations, or none where they are more than fit.
  [[nodiscard]] std::vector<GpuSet> combinations(bool few) const {
    std::vector<std::vector<KindChoice>> choices;
    std::size_t count = 1;
    for (const NodeKind& kind : kinds_) {
      choices.push_back(choices_of(kind, few));
      count *= choices.back().size();
      if (count > kMostSets) {
        return {};
      }
    }
    std::vector<GpuSet> sets;
    for (std::size_t number = 0; number < count; ++number) {
      std::vector<KindChoice> picked;
      std::size_t rest = number;
      bool is_empty = true;
      for (const std::vector<KindChoice>& of : choices) {
        picked.push_back(of[rest % of.size()]);
        rest /= of.size();
        is_empty = is_empty && picked.back().count == 0;
      }
      if (!is_empty) {
        sets.push_back(make(picked));
      }
    }
    return sets;
  }

 private:
  std::vector<NodeKind> kinds_;
  Counts all_;
};

// In the only node, or in nodes as large as the file's largest.
void add_to(GpuSet& set, const Json& file, const AddedGpus& added, std::size_t number) {
  const Json& nodes = file.at("cluster").at("nodes");
  const bool has_network = file.at("cluster").contains("network");
  set.added.push_back(fmt::format("{} {}", added.count, gpu_title(added.gpu)));
  const std::string words = fmt::format("add {} x {}", added.count, added.gpu);
  set.change += set.change.empty() ? words : "; " + words;
  if (nodes.size() == 1 && nodes[0].is_object() && nodes[0].value("count", 1) == 1 &&
      !has_network) {
    Json gpus = nodes[0].at("gpus");
    for (const Override& change : set.set) {
      gpus = change.key == "cluster.nodes.0.gpus" ? Json::parse(change.value) : gpus;
    }
    for (std::int64_t i = 0; i < added.count; ++i) {
      gpus.push_back(added.gpu);
    }
    std::erase_if(set.set,
                  [](const Override& change) { return change.key == "cluster.nodes.0.gpus"; });
    set.set.push_back({"cluster.nodes.0.gpus", gpus.dump()});
    return;
  }
  std::int64_t largest = 1;
  for (const Json& node : nodes) {
    if (node.is_object()) {
      largest = std::max(largest, static_cast<std::int64_t>(node.at("gpus").size()));
    }
  }
  std::size_t next = nodes.size();
  for (const Override& change : set.set) {
    next += change.value.starts_with("{\"") && change.key.starts_with("cluster.nodes.") ? 1 : 0;
  }
  const auto add_node = [&](std::int64_t count, std::int64_t gpus) {
    if (count == 0 || gpus == 0) {
      return;
    }
    Json node = {
        {"name", fmt::format("added-{}-{}", number, next)},
        {"gpus", Json(std::vector<std::string>(static_cast<std::size_t>(gpus), added.gpu))}};
    if (count > 1) {
      node["count"] = count;
    }
    set.set.push_back({fmt::format("cluster.nodes.{}", next++), node.dump()});
  };
  add_node(added.count / largest, largest);
  add_node(1, added.count % largest);
}

}  // namespace

AddedGpus parse_added_gpus(const std::string& text) {
  constexpr std::int64_t kMostAdded = 100'000;
  const auto colon = text.find(':');
  AddedGpus added{.gpu = text.substr(0, colon)};
  bool good = !added.gpu.empty();
  if (colon != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, added.count);
    good = good && parsed.ec == std::errc() && parsed.ptr == end && added.count >= 1 &&
           added.count <= kMostAdded;
  }
  if (!good) {
    throw UserError(fmt::format(
        "--add {}: write GPU or GPU:COUNT with a count from 1 to {}, e.g. --add rtx-4090:2",
        text,
        kMostAdded));
  }
  return added;
}

GpuSets gpu_sets(const nlohmann::json& file, const std::vector<AddedGpus>& additions) {
  const std::vector<NodeKind> kinds = node_kinds(file);
  const SetMaker maker(kinds);
  GpuSets result{.sets = maker.combinations(false)};
  const bool many =
      std::ranges::any_of(kinds, [](const NodeKind& kind) { return kind.count > kFewNodes; });
  if (many) {
    result.notes.push_back(fmt::format(
        "of more than {} nodes that are alike, quarters of their number and all but one were tried",
        kFewNodes));
  }
  if (result.sets.empty()) {
    result.sets = maker.combinations(true);
    result.notes.clear();
    result.notes.emplace_back(
        "of nodes that are alike only all or none were left out: there are too many kinds of nodes "
        "to try every number");
  }
  std::vector<GpuSet> steps = maker.single_steps();
  if (result.sets.empty()) {
    result.sets = {GpuSet{}};
    result.notes.back() =
        "nodes and kinds of GPUs were left out one at a time: there are too many to try every "
        "combination";
  }
  for (GpuSet& step : steps) {
    const auto same = std::ranges::find(result.sets, step.change, &GpuSet::change);
    if (same == result.sets.end()) {
      result.sets.push_back(std::move(step));
    } else {
      same->is_one_step = true;
      same->step = std::move(step.step);
    }
  }
  for (std::size_t number = 0; number < additions.size(); ++number) {
    const std::size_t before = result.sets.size();
    for (std::size_t i = 0; i < before; ++i) {
      GpuSet set = result.sets[i];
      const bool is_whole = set.set.empty();
      add_to(set, file, additions[number], number);
      set.is_one_step = is_whole;
      set.step = fmt::format("{} x {}", additions[number].count, additions[number].gpu);
      result.sets.push_back(std::move(set));
    }
  }
  return result;
}

std::string gpu_title(std::string_view name) {
  std::string title;
  std::string word;
  const auto finish = [&] {
    static const std::set<std::string> kLower = {"titan", "tesla", "ada", "ti"};
    if (word.empty()) {
      return;
    }
    std::string shown = word;
    for (char& c : shown) {
      c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    if (kLower.contains(word)) {
      for (std::size_t i = 1; i < shown.size(); ++i) {
        shown[i] = word[i];
      }
    }
    title += title.empty() ? shown : " " + shown;
    word.clear();
  };
  for (const char c : name) {
    if (c == '-') {
      finish();
    } else {
      word += c;
    }
  }
  finish();
  return title;
}

}  // namespace vitsim
