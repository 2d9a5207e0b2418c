#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace vitsim {

/// The MD5 checksum of a file, in hexadecimal. Throws UserError where it cannot be read.
std::string md5_of_file(const std::filesystem::path& file);

/// Unpacks a .tar.gz in memory: calls `found` with the name (without folders) and the contents of
/// each regular file that `wanted` accepts by name and size, in the archive's order.
/// Throws UserError where the file is no such archive, or ends too early.
void unpack_archive(
    const std::filesystem::path& file,
    const std::function<bool(std::string_view name, std::int64_t bytes)>& wanted,
    const std::function<void(std::string_view name, const std::vector<std::uint8_t>&)>& found);

}  // namespace vitsim
