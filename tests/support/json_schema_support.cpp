#include "tests/support/json_schema_support.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace vitsim::test {

namespace {

using Json = nlohmann::json;

const Json& resolve(const Json& root, const Json& schema) {
  const Json* at = &schema;
  while (at->contains("$ref")) {
    at = &root.at(Json::json_pointer(at->at("$ref").get<std::string>().substr(1)));
  }
  return *at;
}

bool has_type(const Json& document, const std::string& type) {
  if (type == "object")
    return document.is_object();
  if (type == "array")
    return document.is_array();
  if (type == "string")
    return document.is_string();
  if (type == "boolean")
    return document.is_boolean();
  if (type == "null")
    return document.is_null();
  if (type == "number")
    return document.is_number();
  if (type == "integer") {
    return document.is_number() && document.get<double>() == std::floor(document.get<double>());
  }
  throw std::invalid_argument("unknown type " + type);
}

class Checker {
 public:
  explicit Checker(const Json& root) : root_(root) {}

  std::vector<std::string> errors;

  void check(const Json& schema_or_ref, const Json& document, const std::string& path) {
    const Json& schema = resolve(root_, schema_or_ref);
    for (const auto& [word, value] : schema.items()) {
      check_word(word, value, schema, document, path);
    }
  }

  bool is_right(const Json& schema, const Json& document) const {
    Checker other(root_);
    other.check(schema, document, "");
    return other.errors.empty();
  }

 private:
  void expect(bool good, const std::string& path, const std::string& what) {
    if (!good) {
      errors.push_back(path + ": " + what);
    }
  }

  void check_word(const std::string& word,
                  const Json& value,
                  const Json& schema,
                  const Json& document,
                  const std::string& path) {
    static const std::set<std::string> kNotes = {"$schema", "title", "description", "$defs"};
    if (kNotes.contains(word)) {
      return;
    }
    if (word == "type") {
      bool good = false;
      for (const Json& type : value.is_array() ? value : Json::array({value})) {
        good = good || has_type(document, type);
      }
      expect(good, path, "is no " + value.dump());
    } else if (word == "const") {
      expect(document == value, path, "is not " + value.dump());
    } else if (word == "enum") {
      expect(std::ranges::find(value, document) != value.end(), path, "is none of " + value.dump());
    } else if (word == "minimum") {
      expect(!document.is_number() || document >= value, path, "is too small");
    } else if (word == "maximum") {
      expect(!document.is_number() || document <= value, path, "is too large");
    } else if (word == "exclusiveMinimum") {
      expect(!document.is_number() || document > value, path, "is too small");
    } else if (word == "minLength") {
      expect(
          !document.is_string() || document.get<std::string>().size() >= value, path, "is short");
    } else if (word == "pattern") {
      expect(!document.is_string() || std::regex_search(document.get<std::string>(),
                                                        std::regex(value.get<std::string>())),
             path,
             "does not match " + value.dump());
    } else if (word == "minItems") {
      expect(!document.is_array() || document.size() >= value, path, "has too few");
    } else if (word == "maxItems") {
      expect(!document.is_array() || document.size() <= value, path, "has too many");
    } else if (word == "items") {
      for (std::size_t i = 0; document.is_array() && i < document.size(); ++i) {
        check(value, document[i], path + "/" + std::to_string(i));
      }
    } else if (word == "required") {
      for (const Json& key : value) {
        expect(!document.is_object() || document.contains(key), path, "lacks " + key.dump());
      }
    } else if (word == "properties") {
      for (const auto& [key, member] : value.items()) {
        if (document.is_object() && document.contains(key)) {
          check(member, document.at(key), path + "/" + key);
        }
      }
    } else if (word == "additionalProperties") {
      check_additional(value, schema, document, path);
    } else if (word == "anyOf" || word == "oneOf") {
      const auto right = std::ranges::count_if(
          value, [&](const Json& branch) { return is_right(branch, document); });
      expect(word == "anyOf" ? right >= 1 : right == 1, path, "matches " + std::to_string(right));
    } else {
      throw std::invalid_argument("this checker does not know \"" + word + "\"");
    }
  }

  void check_additional(const Json& value,
                        const Json& schema,
                        const Json& document,
                        const std::string& path) {
    if (!document.is_object()) {
      return;
    }
    for (const auto& [key, member] : document.items()) {
      if (schema.contains("properties") && schema.at("properties").contains(key)) {
        continue;
      }
      if (value.is_boolean()) {
        expect(value.get<bool>(), path, "unknown key " + key);
      } else {
        check(value, member, path + "/" + key);
      }
    }
  }

  const Json& root_;
};

void collect(const Json& root,
             const Json& schema_or_ref,
             const Json& document,
             const std::string& path,
             std::vector<SchemaObject>& objects) {
  const Json& schema = resolve(root, schema_or_ref);
  for (const char* choice : {"anyOf", "oneOf"}) {
    if (schema.contains(choice)) {
      for (const Json& branch : schema.at(choice)) {
        if (Checker(root).is_right(branch, document)) {
          collect(root, branch, document, path, objects);
        }
      }
    }
  }
  if (schema.contains("properties") && document.is_object()) {
    SchemaObject object{.path = path, .schema_id = schema.dump()};
    for (const auto& [key, member] : schema.at("properties").items()) {
      object.keys.insert(key);
      if (document.contains(key)) {
        collect(root, member, document.at(key), path + "/" + key, objects);
      }
    }
    objects.push_back(std::move(object));
  }
  if (schema.contains("items") && document.is_array()) {
    for (std::size_t i = 0; i < document.size(); ++i) {
      collect(root, schema.at("items"), document[i], path + "/" + std::to_string(i), objects);
    }
  }
}

void find_objects(const Json& schema, std::set<std::string>& found) {
  if (schema.is_object() && schema.contains("properties") && schema.contains("type")) {
    found.insert(schema.dump());
  }
  if (schema.is_structured()) {
    for (const Json& inner : schema) {
      find_objects(inner, found);
    }
  }
}

}  // namespace

std::vector<std::string> schema_errors(const Json& schema, const Json& document) {
  Checker checker(schema);
  checker.check(schema, document, "");
  return checker.errors;
}

std::vector<SchemaObject> schema_objects(const Json& schema, const Json& document) {
  std::vector<SchemaObject> objects;
  collect(schema, schema, document, "", objects);
  return objects;
}

std::size_t count_object_schemas(const Json& schema) {
  std::set<std::string> found;
  find_objects(schema, found);
  return found.size();
}

}  // namespace vitsim::test
