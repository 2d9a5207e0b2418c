#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/document/document.h"
#include "models/units.h"

namespace vitsim {

/// Bounds of a plain number, both included.
struct Range {
  double least = std::numeric_limits<double>::lowest();
  double most = std::numeric_limits<double>::max();
  bool above_least = false;  // `least` itself is excluded
};

/// A value of a document together with its path. Each reading function returns nothing and records
/// a problem where the value is of another kind or out of bounds.
class Field {
 public:
  Field(const Document& document, Problems& problems);
  Field(const Field& parent, const DocumentValue& value, std::string_view step);

  /// "tesla.json:7: /cluster/nodes/0/gpus/0".
  [[nodiscard]] std::string where() const;

  [[nodiscard]] const std::string& path() const { return path_; }

  [[nodiscard]] const DocumentValue& value() const { return *value_; }

  void problem(std::string_view message) const;

  [[nodiscard]] bool is_string() const;
  [[nodiscard]] bool is_array() const;
  [[nodiscard]] bool is_object() const;
  [[nodiscard]] bool is_null() const;
  [[nodiscard]] bool is_number() const;

  [[nodiscard]] bool problems_full() const { return problems_->full(); }

  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<std::string> text() const;      // not empty
  [[nodiscard]] std::optional<std::string> any_text() const;  // may be empty
  [[nodiscard]] std::optional<std::int64_t> integer(std::int64_t least, std::int64_t most) const;
  [[nodiscard]] std::optional<double> number(const Range& range) const;
  /// Quantities as people write them, with a unit; bounds in base units, both included.
  [[nodiscard]] std::optional<Seconds> seconds(Seconds least, Seconds most) const;
  [[nodiscard]] std::optional<BytesPerSecond> bandwidth() const;
  [[nodiscard]] std::optional<Bytes> bytes(Bytes least, Bytes most) const;
  [[nodiscard]] std::optional<Watts> watts(Watts least, Watts most) const;
  /// Index of the word among `names`.
  [[nodiscard]] std::optional<std::size_t> choice(std::span<const std::string_view> names) const;
  [[nodiscard]] std::vector<Field> elements() const;

 private:
  friend class ObjectReader;

  void wrong_kind(std::string_view wanted) const;

  template <class Q, class Parse>
  [[nodiscard]] std::optional<Q> quantity(Parse parse,
                                          Q least,
                                          Q most,
                                          std::string_view unit) const;

  const Document* document_;
  Problems* problems_;
  const DocumentValue* value_;
  std::string path_;
};

/// Reads an object key by key. Keys that nobody asked for are unknown: `finish` reports them with
/// the nearest of those asked for.
class ObjectReader {
 public:
  /// Records a problem where `field` is no object; then all keys are absent and none is missed.
  enum class Null { kIsValue, kIsAbsent };

  explicit ObjectReader(const Field& field, Null null = Null::kIsValue);

  [[nodiscard]] const Field& field() const { return field_; }

  [[nodiscard]] bool is_object() const { return object_ != nullptr; }

  /// The key's value; nothing where the key is absent.
  [[nodiscard]] std::optional<Field> find(std::string_view key);
  /// The same; records a problem where it is absent.
  [[nodiscard]] std::optional<Field> require(std::string_view key);

  /// Reads into `target` where the key is present and right.
  void read(std::string_view key, bool& target);
  void read(std::string_view key, std::string& target);      // not empty
  void read_any(std::string_view key, std::string& target);  // may be empty
  void read(std::string_view key, std::int64_t& target, std::int64_t least, std::int64_t most);
  void read(std::string_view key, double& target, const Range& range);

  template <class Enum>
  void read(std::string_view key, Enum& target, std::span<const std::string_view> names) {
    if (const auto found = find(key)) {
      if (const auto index = found->choice(names)) {
        target = static_cast<Enum>(*index);
      }
    }
  }

  /// Keys that were never asked for, in file order.
  [[nodiscard]] std::vector<Field> unknown() const;

  [[nodiscard]] const std::vector<std::string>& known() const { return known_; }

  /// Records a problem for every unknown key.
  void finish() const;

 private:
  Field field_;
  const DocumentValue::Object* object_ = nullptr;
  Null null_;
  std::vector<std::string> known_;
};

/// Reads `"schema": "vitsim-profile/1"`. False, with a problem recorded, where the file is of
/// another kind or of a newer version: then no other key of it should be read.
bool check_schema(ObjectReader& object, std::string_view name, int version);

}  // namespace vitsim
