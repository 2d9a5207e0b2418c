// Reading JSON with places.
//
// nlohmann/json parses; its SAX interface reports values in order but not where they stand. The
// input is therefore fed through an iterator that counts lines as the lexer takes characters. The
// lexer takes exactly the characters of a token, except after a number, where it must look one
// character ahead: if that one was a line break, the number stands on the line before.
#include "models/document/document.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/relaxed_json.h"
#include "models/document/words.h"
#include "models/error.h"

namespace vitsim {

namespace {

struct Position {
  std::int32_t line = 1;
  char last = '\0';
};

class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, Position* position) : at_(at), position_(position) {}

  reference operator*() const { return *at_; }

  CountingIterator& operator++() {
    position_->last = *at_;
    position_->line += *at_ == '\n' ? 1 : 0;
    ++at_;
    return *this;
  }

  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }

  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  Position* position_;
};

// What remains of nlohmann's message once its own numbering and position are taken off.
std::string reason(std::string_view what) {
  for (const std::string_view mark : {"syntax error ", "number overflow "}) {
    if (const auto at = what.find(mark); at != std::string_view::npos) {
      what = what.substr(at);
      break;
    }
  }
  if (const auto dash = what.find(" - "); dash != std::string_view::npos) {
    what = what.substr(dash + 3);
  }
  return std::string(what.substr(0, 200));
}

// Builds the tree of located values.
class TreeBuilder {
 public:
  using Json = nlohmann::json;

  TreeBuilder(const Position& position,
              const std::string& origin,
              std::int32_t source,
              Problems& problems,
              const DocumentOptions& options)
      : position_(position),
        origin_(origin),
        source_(source),
        problems_(problems),
        options_(options) {}

  DocumentValue take() { return std::move(root_); }

  [[nodiscard]] const std::string& failure() const { return failure_; }

  bool null() { return scalar(nullptr, position_.line); }

  bool boolean(bool value) { return scalar(value, position_.line); }

  bool number_integer(std::int64_t value) { return scalar(value, line_of_number()); }

  bool number_unsigned(std::uint64_t value) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return scalar(static_cast<double>(value), line_of_number());
    }
    return scalar(static_cast<std::int64_t>(value), line_of_number());
  }

  bool number_float(double value, const std::string& /*text*/) {
    return scalar(value, line_of_number());
  }

  bool string(std::string& value) { return scalar(std::move(value), position_.line); }

  bool binary(Json::binary_t& /*value*/) { return fail("binary values are not JSON"); }

  bool start_object(std::size_t /*size*/) { return open(DocumentValue::Object()); }

  bool start_array(std::size_t /*size*/) { return open(DocumentValue::Array()); }

  bool end_object() { return close(); }

  bool end_array() { return close(); }

  bool key(std::string& name) {
    auto& object = std::get<DocumentValue::Object>(open_.back()->value);
    const auto same = std::ranges::find(object, name, &DocumentMember::key);
    if (same != object.end()) {
      problems_.add(fmt::format("{}:{}: key {} is given twice (first on line {})",
                                origin_,
                                position_.line,
                                in_quotes(name),
                                same->line));
    }
    if (object.size() >= kMostKeys) {
      return fail(fmt::format("an object with more than {} keys", kMostKeys));
    }
    object.push_back({.key = std::move(name), .line = position_.line, .value = {}});
    return true;
  }

  bool parse_error(std::size_t /*at*/, const std::string& /*token*/, const Json::exception& error) {
    return fail(reason(error.what()));
  }

 private:
  // Duplicates are looked for one by one; no file of the project has a hundred keys in one object.
  static constexpr std::size_t kMostKeys = 10'000;

  [[nodiscard]] std::int32_t line_of_number() const {
    return position_.line - (position_.last == '\n' ? 1 : 0);
  }

  bool fail(std::string message) {
    failure_ = std::move(message);
    return false;
  }

  DocumentValue* place(std::int32_t line) {
    if (++count_ > options_.values) {
      fail(fmt::format("more than {} values", options_.values));
      return nullptr;
    }
    DocumentValue* where = &root_;
    if (!open_.empty()) {
      if (auto* array = std::get_if<DocumentValue::Array>(&open_.back()->value)) {
        where = &array->emplace_back();
      } else {
        where = &std::get<DocumentValue::Object>(open_.back()->value).back().value;
      }
    }
    where->line = line;
    where->source = source_;
    return where;
  }

  template <class T>
  bool scalar(T value, std::int32_t line) {
    DocumentValue* const where = place(line);
    if (where == nullptr) {
      return false;
    }
    where->value = std::move(value);
    return true;
  }

  template <class T>
  bool open(T container) {
    if (open_.size() >= static_cast<std::size_t>(options_.depth)) {
      return fail(fmt::format("values nested more than {} deep", options_.depth));
    }
    DocumentValue* const where = place(position_.line);
    if (where == nullptr) {
      return false;
    }
    where->value = std::move(container);
    open_.push_back(where);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const Position& position_;
  const std::string& origin_;
  std::int32_t source_;
  Problems& problems_;
  const DocumentOptions& options_;
  DocumentValue root_;
  // Pointers stay valid: a container grows only while it is the innermost open one.
  std::vector<DocumentValue*> open_;
  std::size_t count_ = 0;
  std::string failure_;
};

struct ParsedTree {
  DocumentValue root;
  std::int32_t line = 0;  // where parsing stopped
  std::string failure;    // empty: none
};

ParsedTree parse_tree(std::string_view text,
                      const std::string& origin,
                      std::int32_t source,
                      Problems& problems,
                      const DocumentOptions& options) {
  Position position{.line = options.first_line};
  TreeBuilder builder(position, origin, source, problems, options);
  const bool good =
      nlohmann::json::sax_parse(CountingIterator(text.data(), &position),
                                CountingIterator(text.data() + text.size(), &position),
                                &builder);
  ParsedTree tree{.root = builder.take(), .line = position.line, .failure = builder.failure()};
  if (!good && tree.failure.empty()) {
    tree.failure = "not JSON";
  }
  return tree;
}

std::string cause(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return "no such file";
  }
  if (error) {
    return error.message();
  }
  if (std::filesystem::is_directory(status)) {
    return "is a folder";
  }
  return "";
}

std::string too_large(const std::string& origin, std::uintmax_t limit) {
  return fmt::format("{}: larger than {} MB; no file of this kind is", origin, limit / 1'000'000);
}

// What a file is called in messages.
std::string origin_of(const std::filesystem::path& file) {
  return file == "-" ? "standard input" : file.string();
}

// A stream has no size: read no more than the limit and one byte.
std::string read_up_to_limit(std::istream& input,
                             const std::string& origin,
                             const DocumentOptions& options) {
  std::string text;
  std::array<char, 65536> block{};
  while (input.read(block.data(), block.size()) || input.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(input.gcount()));
    if (text.size() > options.bytes) {
      throw UserError(too_large(origin, options.bytes));
    }
  }
  return text;
}

std::string slurp(const std::filesystem::path& file, const DocumentOptions& options) {
  const std::string origin = origin_of(file);
  if (file == "-") {
    return read_up_to_limit(std::cin, origin, options);
  }
  if (const std::string problem = cause(file); !problem.empty()) {
    throw UserError(fmt::format("{}: {}", origin, problem));
  }
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  if (!error && size > options.bytes) {
    throw UserError(too_large(origin, options.bytes));
  }
  std::ifstream input(file, std::ios::binary);
  if (!input) {
    throw UserError(
        fmt::format("{}: cannot be read: {}", origin, std::generic_category().message(errno)));
  }
  return read_up_to_limit(input, origin, options);
}

std::optional<std::size_t> index_of(std::string_view text) {
  std::size_t index = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), index);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return index;
}

}  // namespace

void Problems::add(std::string message) {
  if (full()) {
    ++more_;
  } else {
    messages_.push_back(std::move(message));
  }
}

void Problems::throw_if_any() const {
  if (messages_.empty()) {
    return;
  }
  std::vector<std::string> all = messages_;
  if (more_ > 0) {
    all.push_back(fmt::format("and {} more problems", more_));
  }
  throw UserError(std::move(all));
}

std::string_view DocumentValue::kind() const {
  static constexpr std::array<std::string_view, 7> kKinds = {
      "null", "true or false", "a whole number", "a number", "a string", "a list", "an object"};
  return kKinds[value.index()];
}

Document Document::read(const std::filesystem::path& file,
                        Problems& problems,
                        const DocumentOptions& options) {
  return parse(slurp(file, options), origin_of(file), problems, options);
}

Document Document::parse(std::string_view text,
                         std::string origin,
                         Problems& problems,
                         const DocumentOptions& options) {
  if (text.size() > options.bytes) {
    throw UserError(too_large(origin, options.bytes));
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw UserError(fmt::format("{}: the file is empty", origin));
  }
  if (text.find('\0') != std::string_view::npos) {
    throw UserError(fmt::format("{}: not a text file (it holds zero bytes)", origin));
  }
  Document document;
  document.sources_.push_back(std::move(origin));
  const std::string strict = options.relaxed ? strict_json(text) : std::string();
  ParsedTree tree =
      parse_tree(options.relaxed ? strict : text, document.origin(), 0, problems, options);
  if (!tree.failure.empty()) {
    const bool cut = tree.failure.find("unexpected end of input") != std::string::npos ||
                     tree.failure.find("missing closing quote") != std::string::npos;
    problems.add(fmt::format("{}:{}: {}{}",
                             document.origin(),
                             tree.line,
                             cut ? "the file ends in the middle: " : "not JSON: ",
                             tree.failure));
    problems.throw_if_any();
  }
  document.root_ = std::move(tree.root);
  return document;
}

std::string Document::where(std::int32_t line, std::int32_t source, std::string_view path) const {
  const std::string& origin = sources_[static_cast<std::size_t>(source)];
  const std::string_view shown = path.empty() ? "/" : path;
  return source == 0 ? fmt::format("{}:{}: {}", origin, line, shown)
                     : fmt::format("{}: {}", origin, shown);
}

void Document::set(std::string_view key,
                   std::string_view text,
                   Promote promote,
                   Problems& problems) {
  const std::string origin = fmt::format("--set {}={}", key, text.substr(0, 60));
  const auto source = static_cast<std::int32_t>(sources_.size());
  sources_.push_back(origin);
  const auto complain = [&](std::string_view path, std::string_view message) {
    problems.add(fmt::format("{}: {}: {}", origin, path.empty() ? "/" : path, message));
  };

  Problems ignored;  // a duplicate key inside the value makes it a string, which its reader refuses
  ParsedTree tree = parse_tree(text, origin, source, ignored, {});
  DocumentValue value = std::move(tree.root);
  if (!tree.failure.empty() || !ignored.empty()) {
    value = {.value = std::string(text), .line = 0, .source = source};
  }

  DocumentValue* at = &root_;
  std::string path;
  std::string_view rest = key;
  while (true) {
    const auto point = rest.find('.');
    const std::string_view step = rest.substr(0, point);
    if (step.empty()) {
      complain(path, "a key is names and indices joined by points, e.g. training.epochs");
      return;
    }
    if (!std::holds_alternative<DocumentValue::Object>(at->value) &&
        !std::holds_alternative<DocumentValue::Array>(at->value) &&
        (promote == nullptr || !promote(path, *at))) {
      complain(path, fmt::format("is {} and has no {}", at->kind(), in_quotes(step)));
      return;
    }
    if (auto* array = std::get_if<DocumentValue::Array>(&at->value)) {
      const auto index = index_of(step);
      if (index && *index == array->size() && point == std::string_view::npos) {
        array->push_back(std::move(value));  // one behind the last adds an element
        return;
      }
      if (!index || *index >= array->size()) {
        complain(
            path,
            fmt::format("is a list of {}; {} is no index into it", array->size(), in_quotes(step)));
        return;
      }
      at = &(*array)[*index];
    } else {
      auto& object = std::get<DocumentValue::Object>(at->value);
      auto member = std::ranges::find(object, step, &DocumentMember::key);
      if (member == object.end()) {
        DocumentValue made{.value = DocumentValue::Object(), .line = 0, .source = source};
        object.push_back({.key = std::string(step), .line = 0, .value = std::move(made)});
        member = std::prev(object.end());
      }
      at = &member->value;
    }
    path += fmt::format("/{}", step);
    if (point == std::string_view::npos) {
      *at = std::move(value);
      return;
    }
    rest = rest.substr(point + 1);
  }
}

nlohmann::json to_json(const DocumentValue& value) {
  return std::visit(
      [](const auto& held) -> nlohmann::json {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, DocumentValue::Array>) {
          nlohmann::json array = nlohmann::json::array();
          for (const DocumentValue& element : held) {
            array.push_back(to_json(element));
          }
          return array;
        } else if constexpr (std::is_same_v<Held, DocumentValue::Object>) {
          nlohmann::json object = nlohmann::json::object();
          for (const DocumentMember& member : held) {
            object[member.key] = to_json(member.value);
          }
          return object;
        } else {
          return held;
        }
      },
      value.value);
}

}  // namespace vitsim
