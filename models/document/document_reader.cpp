#include "models/document/document_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "models/document/words.h"

namespace vitsim {

namespace {

std::string bounds_text(double value, const Range& range, std::string_view unit = "") {
  if (value < range.least || (range.above_least && value == range.least)) {
    return fmt::format("{}{} is too small: must be {} {}{}",
                       value,
                       unit,
                       range.above_least ? "above" : "at least",
                       range.least,
                       unit);
  }
  return fmt::format("{}{} is too large: must be at most {}{}", value, unit, range.most, unit);
}

bool inside(double value, const Range& range) {
  return std::isfinite(value) && value <= range.most &&
         (range.above_least ? value > range.least : value >= range.least);
}

}  // namespace

Field::Field(const Document& document, Problems& problems)
    : document_(&document), problems_(&problems), value_(&document.root()) {}

Field::Field(const Field& parent, const DocumentValue& value, std::string_view step)
    : document_(parent.document_),
      problems_(parent.problems_),
      value_(&value),
      path_(fmt::format("{}/{}", parent.path_, step)) {}

std::string Field::where() const {
  return document_->where(value_->line, value_->source, path_);
}

void Field::problem(std::string_view message) const {
  problems_->add(fmt::format("{}: {}", where(), message));
}

bool Field::is_string() const {
  return std::holds_alternative<std::string>(value_->value);
}

bool Field::is_array() const {
  return std::holds_alternative<DocumentValue::Array>(value_->value);
}

bool Field::is_object() const {
  return std::holds_alternative<DocumentValue::Object>(value_->value);
}

bool Field::is_null() const {
  return std::holds_alternative<std::nullptr_t>(value_->value);
}

bool Field::is_number() const {
  return std::holds_alternative<std::int64_t>(value_->value) ||
         std::holds_alternative<double>(value_->value);
}

void Field::wrong_kind(std::string_view wanted) const {
  problem(fmt::format("must be {}, not {}", wanted, value_->kind()));
}

std::optional<bool> Field::boolean() const {
  if (const auto* const value = std::get_if<bool>(&value_->value)) {
    return *value;
  }
  wrong_kind("true or false");
  return std::nullopt;
}

std::optional<std::string> Field::text() const {
  auto value = any_text();
  if (value && value->empty()) {
    problem("must not be empty");
    return std::nullopt;
  }
  return value;
}

std::optional<std::string> Field::any_text() const {
  if (const auto* const value = std::get_if<std::string>(&value_->value)) {
    return *value;
  }
  wrong_kind("a string");
  return std::nullopt;
}

std::optional<std::int64_t> Field::integer(std::int64_t least, std::int64_t most) const {
  std::int64_t whole = 0;
  if (const auto* const value = std::get_if<std::int64_t>(&value_->value)) {
    whole = *value;
  } else if (const auto* const real = std::get_if<double>(&value_->value)) {
    // 1e6 is a whole number to whoever writes it.
    if (*real != std::floor(*real)) {
      problem(fmt::format("{} is not a whole number", *real));
      return std::nullopt;
    }
    if (std::abs(*real) > 9e15) {
      problem(fmt::format("{} is out of range: must be from {} to {}", *real, least, most));
      return std::nullopt;
    }
    whole = static_cast<std::int64_t>(*real);
  } else {
    wrong_kind("a whole number");
    return std::nullopt;
  }
  if (whole < least || whole > most) {
    problem(fmt::format("{} is out of range: must be from {} to {}", whole, least, most));
    return std::nullopt;
  }
  return whole;
}

std::optional<double> Field::number(const Range& range) const {
  double real = 0;
  if (const auto* const value = std::get_if<std::int64_t>(&value_->value)) {
    real = static_cast<double>(*value);
  } else if (const auto* const value_real = std::get_if<double>(&value_->value)) {
    real = *value_real;
  } else {
    wrong_kind("a number");
    return std::nullopt;
  }
  if (!inside(real, range)) {
    problem(bounds_text(real, range));
    return std::nullopt;
  }
  return real;
}

template <class Q, class Parse>
std::optional<Q> Field::quantity(Parse parse, Q least, Q most, std::string_view unit) const {
  Q value;
  if (const auto* const text_value = std::get_if<std::string>(&value_->value)) {
    const ParsedQuantity<Q> parsed = parse(*text_value);
    if (!parsed.value) {
      problem(parsed.problem);
      return std::nullopt;
    }
    value = *parsed.value;
  } else if (is_number()) {
    const double bare = number({}).value_or(0);
    if (bare != 0) {
      problem(fmt::format("{} has no unit: {}", bare, missing_unit(Q())));
      return std::nullopt;
    }
  } else {
    wrong_kind("a string with a number and its unit");
    return std::nullopt;
  }
  const Range range{.least = least.value(), .most = most.value()};
  if (!inside(value.value(), range)) {
    if (value.value() == 0) {
      problem("must be above zero");
    } else {
      problem(bounds_text(value.value(), range, unit));
    }
    return std::nullopt;
  }
  return value;
}

std::optional<Seconds> Field::seconds(Seconds least, Seconds most) const {
  return quantity<Seconds>(parse_seconds, least, most, " s");
}

std::optional<BytesPerSecond> Field::bandwidth() const {
  // From one bit per second to a petabyte per second: beyond, it is a slip of the pen.
  return quantity<BytesPerSecond>(
      parse_bandwidth, BytesPerSecond(0.125), BytesPerSecond(1e15), " B/s");
}

std::optional<Bytes> Field::bytes(Bytes least, Bytes most) const {
  return quantity<Bytes>(parse_bytes, least, most, " B");
}

std::optional<Watts> Field::watts(Watts least, Watts most) const {
  return quantity<Watts>(parse_watts, least, most, " W");
}

std::optional<std::size_t> Field::choice(std::span<const std::string_view> names) const {
  const auto word = text();
  if (!word) {
    return std::nullopt;
  }
  const auto found = std::ranges::find(names, *word);
  if (found == names.end()) {
    problem(fmt::format("unknown word {}{}", in_quotes(*word), did_you_mean(*word, words(names))));
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - names.begin());
}

std::vector<Field> Field::elements() const {
  const auto* const array = std::get_if<DocumentValue::Array>(&value_->value);
  if (array == nullptr) {
    wrong_kind("a list");
    return {};
  }
  std::vector<Field> fields;
  fields.reserve(array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    fields.emplace_back(*this, (*array)[i], std::to_string(i));
  }
  return fields;
}

ObjectReader::ObjectReader(const Field& field, Null null)
    : field_(field),
      object_(std::get_if<DocumentValue::Object>(&field.value().value)),
      null_(null) {
  if (object_ == nullptr) {
    field.wrong_kind("an object");
  }
}

std::optional<Field> ObjectReader::find(std::string_view key) {
  if (std::ranges::find(known_, key) == known_.end()) {
    known_.emplace_back(key);
  }
  if (object_ == nullptr) {
    return std::nullopt;
  }
  const auto member = std::ranges::find(*object_, key, &DocumentMember::key);
  if (member == object_->end()) {
    return std::nullopt;
  }
  Field found(field_, member->value, key);
  if (null_ == Null::kIsAbsent && found.is_null()) {
    return std::nullopt;
  }
  return found;
}

std::optional<Field> ObjectReader::require(std::string_view key) {
  auto found = find(key);
  if (!found && object_ != nullptr) {
    field_.problem(fmt::format("key \"{}\" is missing", key));
  }
  return found;
}

void ObjectReader::read(std::string_view key, bool& target) {
  if (const auto found = find(key)) {
    target = found->boolean().value_or(target);
  }
}

void ObjectReader::read(std::string_view key, std::string& target) {
  if (const auto found = find(key)) {
    target = found->text().value_or(target);
  }
}

void ObjectReader::read_any(std::string_view key, std::string& target) {
  if (const auto found = find(key)) {
    target = found->any_text().value_or(target);
  }
}

void ObjectReader::read(std::string_view key,
                        std::int64_t& target,
                        std::int64_t least,
                        std::int64_t most) {
  if (const auto found = find(key)) {
    target = found->integer(least, most).value_or(target);
  }
}

void ObjectReader::read(std::string_view key, double& target, const Range& range) {
  if (const auto found = find(key)) {
    target = found->number(range).value_or(target);
  }
}

std::vector<Field> ObjectReader::unknown() const {
  std::vector<Field> fields;
  if (object_ == nullptr) {
    return fields;
  }
  for (const DocumentMember& member : *object_) {
    if (std::ranges::find(known_, member.key) == known_.end()) {
      fields.emplace_back(field_, member.value, member.key);
    }
  }
  return fields;
}

void ObjectReader::finish() const {
  for (const Field& field : unknown()) {
    const std::string_view key = std::string_view(field.path()).substr(field_.path().size() + 1);
    field.problem(fmt::format("unknown key {}{}",
                              in_quotes(key),
                              field.problems_full() ? "" : did_you_mean(key, known_)));
  }
}

bool check_schema(ObjectReader& object, std::string_view name, int version) {
  const auto field = object.require("schema");
  const auto text = field ? field->text() : std::nullopt;
  if (!text) {
    return false;
  }
  const std::string expected = fmt::format("{}/{}", name, version);
  if (*text == expected) {
    return true;
  }
  const auto slash = text->find('/');
  int written = 0;
  const char* const end = text->data() + text->size();
  if (slash != std::string::npos && text->substr(0, slash) == name &&
      std::from_chars(text->data() + slash + 1, end, written).ptr == end && written > version) {
    field->problem(fmt::format("schema {} is newer than this vitsim, which reads {}: update vitsim",
                               in_quotes(*text),
                               expected));
  } else {
    field->problem(fmt::format("schema {} where {} is expected", in_quotes(*text), expected));
  }
  return false;
}

}  // namespace vitsim
