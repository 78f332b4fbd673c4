# The training module: a shared library over libtorch, which is loaded by who trains (app/train_module.h). libtorch's
# headers compile under clang only as C++17. Sanitizers and coverage stay out of it: libtorch has none.
find_path(TORCH_INCLUDE torch/torch.h PATH_SUFFIXES torch/csrc/api/include)
find_library(TORCH_LIBRARY torch)
find_library(TORCH_CPU_LIBRARY torch_cpu)
find_library(C10_LIBRARY c10)
if(TORCH_INCLUDE AND TORCH_LIBRARY AND TORCH_CPU_LIBRARY AND C10_LIBRARY AND NOT FORESHARD_SANITIZE
   AND NOT FORESHARD_COVERAGE AND NOT FORESHARD_FUZZERS)
  add_library(foreshard_train_torch MODULE ${CMAKE_SOURCE_DIR}/src/policy/predict/torch/train_module.cc)
  set_target_properties(foreshard_train_torch PROPERTIES
    PREFIX "" CXX_STANDARD 17 CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_include_directories(foreshard_train_torch PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_include_directories(foreshard_train_torch SYSTEM PRIVATE ${TORCH_INCLUDE})
  target_link_libraries(foreshard_train_torch PRIVATE ${TORCH_LIBRARY} ${TORCH_CPU_LIBRARY} ${C10_LIBRARY})
  target_compile_options(foreshard_train_torch PRIVATE -g0)
  add_dependencies(app_test foreshard_train_torch)
endif()
