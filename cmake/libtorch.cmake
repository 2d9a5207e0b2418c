# Target vitsim::torch: LibTorch 2.11 without CUDA, from the first of
#   -DLIBTORCH=DIR       a directory with include/ and lib/ (a LibTorch archive or a wheel's torch/)
#   an installed Torch   found by its CMake package when -DVITSIM_SYSTEM_TORCH=ON
#   the pinned wheel     fetched once into the user's cache, checksums verified
# and, with VITSIM_CUDA, vitsim::torch_cuda for the plug-in.
#
# The wheel's own CMake package insists on a CUDA toolkit, hence the imported targets.

set(LIBTORCH "" CACHE PATH "LibTorch 2.11 to use (with include/ and lib/); empty: fetch the pinned wheel")
option(VITSIM_SYSTEM_TORCH "Use an installed Torch's CMake package" OFF)

if(VITSIM_SYSTEM_TORCH)
  find_package(Torch 2.11 REQUIRED)
  add_library(vitsim_torch INTERFACE)
  target_link_libraries(vitsim_torch INTERFACE ${TORCH_LIBRARIES})
  add_library(vitsim::torch ALIAS vitsim_torch)
  add_library(vitsim::torch_cuda ALIAS vitsim_torch)
  return()
endif()

if(NOT LIBTORCH)
  if(DEFINED ENV{XDG_CACHE_HOME})
    set(cache $ENV{XDG_CACHE_HOME})
  else()
    set(cache $ENV{HOME}/.cache)
  endif()
  set(kind cpu)
  set(fetched ${cache}/vitsim/libtorch-2.11.0)
  if(VITSIM_CUDA)
    set(kind cuda)
    string(APPEND fetched -cuda)
  endif()
  if(NOT EXISTS ${fetched}/torch/lib/libtorch_cpu.so)
    message(STATUS "Fetching LibTorch 2.11.0 (${kind}) into ${fetched}")
    execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/fetch_libtorch.sh ${kind} ${fetched}
                    RESULT_VARIABLE failed)
    if(failed)
      message(FATAL_ERROR "LibTorch could not be fetched; give one with -DLIBTORCH=DIR")
    endif()
  endif()
  set(torch_root ${fetched}/torch)
else()
  set(torch_root ${LIBTORCH})
endif()
foreach(part include/torch/csrc/api/include/torch/torch.h lib/libtorch_cpu.so lib/libc10.so)
  if(NOT EXISTS ${torch_root}/${part})
    message(FATAL_ERROR "${torch_root} is no LibTorch: it has no ${part}")
  endif()
endforeach()
message(STATUS "LibTorch: ${torch_root}")

add_library(vitsim_torch INTERFACE IMPORTED)
target_include_directories(vitsim_torch SYSTEM INTERFACE
  ${torch_root}/include ${torch_root}/include/torch/csrc/api/include ${torch_root}/include/kineto)
target_compile_definitions(vitsim_torch INTERFACE
  USE_DISTRIBUTED USE_C10D_GLOO USE_RPC USE_TENSORPIPE _GLIBCXX_USE_CXX11_ABI=1
  # LibTorch brings the headers of its own fmt, which is another version than the system's library.
  FMT_HEADER_ONLY)
target_link_libraries(vitsim_torch INTERFACE ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so)
add_library(vitsim::torch ALIAS vitsim_torch)

if(VITSIM_CUDA)
  find_package(CUDAToolkit 13 REQUIRED)
  add_library(vitsim_torch_cuda INTERFACE IMPORTED)
  target_link_libraries(vitsim_torch_cuda INTERFACE vitsim_torch
    -Wl,--no-as-needed ${torch_root}/lib/libtorch_cuda.so ${torch_root}/lib/libc10_cuda.so -Wl,--as-needed
    CUDA::cudart)
  target_include_directories(vitsim_torch_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_definitions(vitsim_torch_cuda INTERFACE USE_C10D_NCCL)
  add_library(vitsim::torch_cuda ALIAS vitsim_torch_cuda)
endif()
