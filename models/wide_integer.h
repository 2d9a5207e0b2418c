#pragma once

namespace vitsim {

/// 128 bits: products of two 64-bit counts without overflow.
__extension__ using Int128 = __int128;

}  // namespace vitsim
