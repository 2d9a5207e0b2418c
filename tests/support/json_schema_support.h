#pragma once

#include <set>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace vitsim::test {

/// What `document` breaks of a JSON Schema, one line each with its path. Knows the words that the
/// project's schemas use; any other word is an error, so that none is silently skipped.
std::vector<std::string> schema_errors(const nlohmann::json& schema,
                                       const nlohmann::json& document);

/// An object of the document and the keys that its schema allows there.
struct SchemaObject {
  std::string path;  // JSON pointer into the document
  std::set<std::string> keys;
  std::string schema_id;  // which object schema it was
};

/// Every object of a right document whose schema names its keys.
std::vector<SchemaObject> schema_objects(const nlohmann::json& schema,
                                         const nlohmann::json& document);

/// How many object schemas with named keys there are.
std::size_t count_object_schemas(const nlohmann::json& schema);

}  // namespace vitsim::test
