#pragma once

#include <string>

namespace vitsim {

/// "vitsim 0.1.0 (commit 3e9e4f6a1b2c, data 5d0c7e92)". The data's version is a fingerprint of the
/// shipped profiles and data sheets that this program finds: two machines with the same version
/// predict alike.
std::string version_text();

}  // namespace vitsim
