#include "sim/render/html/page.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/document_reader.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/report/report.h"
#include "sim/render/html/assets.h"

namespace vitsim {

namespace {

using Json = nlohmann::json;

/// A kind of JSON that has a page, and a list that it cannot do without.
struct PageKind {
  std::string_view schema;
  std::string_view needs;  // none: a report, which has a reader of its own
};

constexpr std::array<PageKind, 9> kKinds = {{{"vitsim-report", ""},
                                             {"vitsim-scale", "rows"},
                                             {"vitsim-sweep", "rows"},
                                             {"vitsim-collective", "rows"},
                                             {"vitsim-plan", "base"},
                                             {"vitsim-comparison", "figures"},
                                             {"vitsim-validation", "comparison"},
                                             {"vitsim-validation-runs", "runs"},
                                             {"vitsim-check", "runs"}}};
constexpr std::string_view kVersion = "/1";

const PageKind& kind_of(const Json& document, std::string_view origin) {
  const auto fail = [&](std::string_view problem) -> const PageKind& {
    std::vector<std::string> known;
    known.reserve(kKinds.size());
    for (const PageKind& kind : kKinds) {
      known.push_back(fmt::format("{}{}", kind.schema, kVersion));
    }
    throw UserError(fmt::format("{}: {}; pages are made of what `--json` writes: {}",
                                origin,
                                problem,
                                fmt::join(known, ", ")));
  };
  if (!document.is_object()) {
    return fail("holds no object");
  }
  const auto schema = document.find("schema");
  if (schema == document.end() || !schema->is_string()) {
    return fail("has no \"schema\"");
  }
  const auto& name = schema->get_ref<const std::string&>();
  const std::string_view stem = std::string_view(name).substr(0, name.find('/'));
  const auto kind = std::ranges::find(kKinds, stem, &PageKind::schema);
  if (kind == kKinds.end()) {
    return fail(fmt::format("schema {} has no page", in_quotes(name)));
  }
  if (std::string_view(name).substr(stem.size()) != kVersion) {
    throw UserError(
        fmt::format("{}: /schema: {} is of another version than {}{}, which this "
                    "vitsim reads: take the vitsim that wrote it",
                    origin,
                    in_quotes(name),
                    kind->schema,
                    kVersion));
  }
  if (!kind->needs.empty()) {
    const auto needed = document.find(kind->needs);
    if (needed == document.end() || !needed->is_structured() || needed->empty()) {
      throw UserError(fmt::format(
          "{}: /{}: is missing or empty: there is nothing to show", origin, kind->needs));
    }
  }
  return *kind;
}

// "node-17" without its number.
std::string_view stem_of(std::string_view name) {
  const auto last = name.find_last_not_of("0123456789");
  return last == std::string_view::npos ? name : name.substr(0, last + 1);
}

// Equal neighbours but for the number in their name become one node with a count.
void join_equal_nodes(Json& nodes) {
  constexpr std::size_t kFew = 24;
  if (!nodes.is_array() || nodes.size() <= kFew) {
    return;
  }
  Json joined = Json::array();
  std::string last_stem;
  Json last_rest;
  for (Json& node : nodes) {
    const std::string node_name = node.is_object() ? node.value("name", "") : "";
    const std::string stem(stem_of(node_name));
    Json rest = node;
    if (rest.is_object()) {
      rest.erase("name");
    }
    if (!joined.empty() && stem == last_stem && rest == last_rest && node.is_object()) {
      joined.back()["count"] = joined.back().value("count", 1) + 1;
      continue;
    }
    joined.push_back(std::move(node));
    last_stem = stem;
    last_rest = std::move(rest);
  }
  nodes = std::move(joined);
}

// The slowest of too many entries.
void keep_slowest(Json& entries, std::size_t most) {
  if (!entries.is_array() || entries.size() <= most) {
    return;
  }
  const auto compute = [](const Json& entry) {
    return entry.is_object() ? entry.value("compute_s", 0.0) : 0.0;
  };
  std::ranges::stable_sort(entries.get_ref<Json::array_t&>(), std::ranges::greater(), compute);
  entries.get_ref<Json::array_t&>().resize(most);
}

// Makes the data of a large cluster small enough for a page, wherever it stands in the document.
void shrink(Json& value) {
  constexpr std::size_t kMostRanks = 2048;
  constexpr std::size_t kMostClasses = 1024;
  if (value.is_object()) {
    if (const auto cluster = value.find("cluster");
        cluster != value.end() && cluster->is_object() && cluster->contains("nodes")) {
      join_equal_nodes((*cluster)["nodes"]);
    }
    if (const auto ranks = value.find("ranks"); ranks != value.end()) {
      if (ranks->is_array() && ranks->size() > kMostRanks) {
        value.erase("largest_micro_batch");  // by entry of the ranks
      }
      keep_slowest(value["ranks"], kMostRanks);
    }
    if (const auto classes = value.find("rank_classes"); classes != value.end()) {
      keep_slowest(*classes, kMostClasses);
    }
  }
  if (value.is_structured()) {
    for (Json& inner : value) {
      shrink(inner);
    }
  }
}

// JSON inside a script element: nothing in it can end the element or begin a comment.
std::string as_script_data(const Json& document) {
  const std::string text = document.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string escaped;
  escaped.reserve(text.size() + text.size() / 16);
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "\\u003c";
        break;
      case '>':
        escaped += "\\u003e";
        break;
      case '&':
        escaped += "\\u0026";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace

std::string html_page(const nlohmann::json& document, std::string_view origin) {
  (void)kind_of(document, origin);
  Json data = document;
  shrink(data);
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n"
      "<title>vitsim</title>\n<style>\n";
  page += page_style();
  page +=
      "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the figures</a>\n"
      "<header id=\"top\"></header>\n<main id=\"main\">\n<noscript><p class=\"warning\">This page "
      "draws its figures with scripts of its own; it loads nothing. Allow scripts for it, or read "
      "the JSON that <code>--json</code> writes.</p></noscript>\n</main>\n<footer><p>Made by "
      "vitsim. The page is one file and loads nothing. Charts: Chart.js, MIT "
      "licence.</p></footer>\n<script id=\"data\" type=\"application/json\">";
  page += as_script_data(data);
  page += "</script>\n<script>\n";
  page += chart_js();
  page += "\n</script>\n<script>\n";
  page += page_scripts();
  page += "</script>\n</body>\n</html>\n";
  return page;
}

std::string html_page_of_text(std::string_view text, const std::string& origin) {
  Problems problems;
  const Document document = Document::parse(text, origin, problems);
  problems.throw_if_any();
  const Json json = to_json(document.root());
  if (kind_of(json, origin).needs.empty()) {
    (void)report_from_text(text, origin);
  }
  return html_page(json, origin);
}

}  // namespace vitsim
