"""What comes of a run: pages, tables, files for learning platforms, and a place to mark written answers.

==============  =====================================================================================
module          one idea
==============  =====================================================================================
``write``       all files of a run's report
``tables``      rows as CSV, in which no cell is a formula
``marks``       the points that an instructor gives
``late``        who was late, and what that costs
``cards``       all that is known about a student's work
``gradebook``   the instructor's tables
``platforms``   files that learning platforms import
``words``       a student's words as HTML that can do no harm
``formulas``    a formula as an image of our own making
``excerpts``    a student's code, with the lines marked that cost points
``pages``       pages of HTML
``serve``       marking in the browser, on this machine alone
==============  =====================================================================================
"""

from course_lib.grading.report.write import report

__all__ = ["report"]
