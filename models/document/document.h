#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace vitsim {

/// Collects every mistake of one or several files, then stops once.
class Problems {
 public:
  void add(std::string message);

  [[nodiscard]] bool empty() const { return messages_.empty(); }

  /// True once so many were found that further ones are only counted.
  [[nodiscard]] bool full() const { return messages_.size() >= kMostShown; }

  /// Throws UserError with all messages in the order they were found, if there are any.
  void throw_if_any() const;

 private:
  static constexpr std::size_t kMostShown = 100;
  std::vector<std::string> messages_;
  std::size_t more_ = 0;
};

struct DocumentMember;

/// One JSON value and where it was written. `source` indexes the document's sources: 0 is the file,
/// others are `--set` options.
struct DocumentValue {
  using Array = std::vector<DocumentValue>;
  using Object = std::vector<DocumentMember>;

  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value;
  std::int32_t line = 0;
  std::int32_t source = 0;

  /// "a string", "an object": for messages.
  [[nodiscard]] std::string_view kind() const;
};

struct DocumentMember {
  std::string key;
  std::int32_t line = 0;
  DocumentValue value;
};

struct DocumentOptions {
  std::uintmax_t bytes = 16'000'000;
  std::size_t values = 2'000'000;
  int depth = 64;
  std::int32_t first_line = 1;  // of the text, where it is a part of a file
  bool relaxed = false;         // comments and the like are allowed, see relaxed_json.h
};

/// A strict JSON file that knows the line of every value.
class Document {
 public:
  /// Called when an override descends into a value that is no container, e.g. a GPU's name; may
  /// turn the value into an object and return true.
  using Promote = bool (*)(std::string_view path, DocumentValue& value);

  /// Throws UserError where the file cannot be read, is too large, empty, binary, cut, or not JSON.
  /// Duplicate keys are added to `problems`.
  static Document read(const std::filesystem::path& file,
                       Problems& problems,
                       const DocumentOptions& options = {});

  /// The same for text; `origin` is what messages call the file.
  static Document parse(std::string_view text,
                        std::string origin,
                        Problems& problems,
                        const DocumentOptions& options = {});

  /// Sets the value at `key` (names and indices joined by points) from `text`: JSON where it is
  /// JSON, else a string. Missing objects on the way are made; the index behind a list's last adds
  /// to it. Mistakes go to `problems`.
  void set(std::string_view key, std::string_view text, Promote promote, Problems& problems);

  [[nodiscard]] const DocumentValue& root() const { return root_; }

  [[nodiscard]] const std::string& origin() const { return sources_.front(); }

  /// "tesla.json:7: /cluster/nodes/0" or "--set cluster.nodes=[]: /cluster/nodes".
  [[nodiscard]] std::string where(std::int32_t line,
                                  std::int32_t source,
                                  std::string_view path) const;

 private:
  DocumentValue root_;
  std::vector<std::string> sources_;
};

/// The value without its places.
nlohmann::json to_json(const DocumentValue& value);

}  // namespace vitsim
