"""Assignments: handed out, checked by the student, graded in a sandbox.

`check("a2.saliency", saliency)` is the student's: it compares with the reference on fresh random input and says what
differs, never the right answer. The instructor has two commands::

    python -m course_lib.grading release                        writes the students' notebooks from the solutions
    python -m course_lib.grading grade SUBMISSIONS --out GRADES  grades a folder or a zip of handed-in notebooks

==============  =====================================================================================
module          one idea
==============  =====================================================================================
``question``    what an assignment asks, as data: questions, parts, known mistakes, written questions
``questions``   one module an assignment: ``questions/a2.py`` holds ``ASSIGNMENT``
``plain``       the plain data that enter and leave the sandbox, and their bytes
``compare``     how an answer differs from the reference, in words
``self_check``  the student's check
``notebook``    the answers out of a handed-in notebook, whatever was handed in
``release``     the student's notebook out of the solution
``files``       the files of a folder or an archive
``layouts``     who a file belongs to
``collect``     one submission for each student
``roster``      who is in the class, and whom a submission's name means
``sandbox``     one locked-up process a question
``apart``       walls of its own for each submission, within the sandbox's
``cgroup``      a limit of memory that the kernel keeps
``seccomp``     system calls that fail in a sandbox
``child``       what runs inside the sandbox
``define``      an answer's cells, run under the grader's rules
``frames``      what a sandbox sent back, read strictly
``results``     what came of a question
``judge``       one submission, answered in a sandbox and compared outside
``stamp``       what changes with all that can change a point
``run``         a run's folder, and a small file for each result
``grade``       every question of every submission once, on all cores, resumable
``report``      pages, tables and files of the results, and the desk for marking; a folder
``variants``    constants of a question that differ by term or by student
``similar``     submissions that resemble each other
==============  =====================================================================================

How to write an assignment
--------------------------
1. `course_lib/grading/questions/aN.py` holds `ASSIGNMENT = Assignment(...)`; see `question` for the fields and `a2`
   for a whole one. A question names a function, its `reference`, the hidden `parts` (each draws its inputs from a
   generator) and the known `mistakes` with the points that each of them keeps. The names of a question, of its function
   and of the function's parameters stay as they are: notebooks that were handed in use them.
2. `assignments/aN_name/solution.ipynb` is the one source of the notebook. A code cell that begins with the line::

       # answer: a2.saliency

   belongs to the answer of that question: it is run in the sandbox, and no other cell is. Several cells may carry the
   line (helpers); they run in their order. Imports of other cells count where an answer uses them; everything else must
   come in as an argument. What stands between `# BEGIN SOLUTION` and `# END SOLUTION` becomes
   `raise NotImplementedError("your code here")`.
   A Markdown cell that begins with `<!-- answer: a2.which_map -->` is a written answer; there the marks are
   `<!-- BEGIN SOLUTION -->` and `<!-- END SOLUTION -->`, and the student finds *Your answer here.*
   (Lines of the source, not tags: they survive every notebook editor, and students see them.)
   The first code cell is `project.repository.first_cell()`, tagged `remove-cell`; the cell after an answer calls
   `grading.check("a2.saliency", saliency)`.
3. `python -m course_lib.grading release` writes `assignments/aN_name/aN_name.ipynb`.
4. `tests/test_grading_assignments.py` then holds, for every assignment there is: the generated notebook is current, the
   points sum to 100, the solution gets full marks, the stub none, and each known mistake what it says.
"""

from course_lib.grading.self_check import check

__all__ = ["check"]
