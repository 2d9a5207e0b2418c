#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/profile/profile.h"

namespace vitsim {

/// Where shipped data lives: $VITSIM_CONFIGS, else beside the installed binary
/// (../share/vitsim/configs), else in the source tree it was built in. None if nowhere.
std::optional<std::filesystem::path> shipped_configs();

/// Finds profiles and data sheets by name: in the files and folders given first, then in those of
/// $VITSIM_PROFILES (joined by colons), then in the shipped ones. A folder holds NAME.json, a
/// profile or a sheet; sheets of GPUs and of links are shipped in folders of their own. Only files
/// that a question needs are read. Reading throws UserError as the profile readers do.
class ProfileLibrary {
 public:
  explicit ProfileLibrary(std::vector<std::filesystem::path> first = {});

  [[nodiscard]] std::optional<GpuProfile> gpu(std::string_view name) const;
  [[nodiscard]] std::optional<LinkProfile> link(std::string_view name) const;
  [[nodiscard]] std::optional<GpuSheet> sheet(std::string_view name) const;
  [[nodiscard]] std::optional<LinkSheet> link_sheet(std::string_view name) const;

  /// Folders of the environment that do not exist (yet): a calibration may make them.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  /// Every profile of a GPU that has one: to scale from.
  [[nodiscard]] std::vector<GpuProfile> all_gpus() const;

  /// Known names in alphabetical order, for messages: these read every file.
  [[nodiscard]] std::vector<std::string> gpu_names() const;   // profiles and sheets
  [[nodiscard]] std::vector<std::string> link_names() const;  // link profiles
  [[nodiscard]] std::vector<std::string> link_sheet_names() const;

 private:
  template <class T>
  [[nodiscard]] std::optional<T> find(std::string_view name) const;
  template <class Visit>
  void visit_all(Visit visit) const;
  template <class... Kinds>
  [[nodiscard]] std::vector<std::string> names() const;

  std::vector<std::filesystem::path> places_;  // in the order of the search
  std::vector<std::string> notes_;
};

}  // namespace vitsim
